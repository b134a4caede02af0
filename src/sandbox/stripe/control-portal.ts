// What a customer does in the portal, for tests and for its page.
import { nobody, type Body, type ControlContext } from './control-context.ts'
import { invalid, StripeFault } from './error.ts'
import { feedback } from './param.ts'
import { cancelThere, cardThere, changeThere, resumeThere, subjectOf } from './portal.ts'
import { snapshot } from './snapshot.ts'
import type { PortalSession, Subscription } from './wire.ts'
import type { World } from './world.ts'

const executed = { keeps: (error: unknown): boolean => error instanceof StripeFault && error.executed }

function act(
  context: ControlContext,
  id: string,
  does: (world: World, session: PortalSession) => Subscription | undefined,
): Body {
  const { world } = context
  return world.step(
    context.now(),
    nobody,
    () => {
      const session = world.need('billing_portal.session', id)
      const sub = does(world, session)
      const after = session.flow?.after_completion
      return {
        subscription: sub ? snapshot(world.store, world.need('subscription', sub.id)) : null,
        redirect_url: after?.type === 'redirect' ? (after.redirect?.return_url ?? null) : null,
      }
    },
    executed,
  )
}

function field(body: Body, key: string): string | undefined {
  const value = body[key]
  return typeof value === 'string' && value !== '' ? value : undefined
}

function count(body: Body): number | undefined {
  const value = body['quantity']
  if (value === undefined || value === '') return undefined
  const quantity = Number(value)
  if (!Number.isSafeInteger(quantity) || quantity < 1) throw invalid('Invalid quantity', 'quantity')
  return quantity
}

export function cancelInPortal(context: ControlContext, body: Body, id: string): Body {
  const said = field(body, 'feedback')
  return act(context, id, (world, session) =>
    cancelThere(world, session, subjectOf(world, session, field(body, 'subscription')), {
      feedback: said === undefined ? undefined : feedback.read(said, 'feedback'),
      comment: field(body, 'comment'),
    }),
  )
}

/** `{ price?, quantity? }`; without either, what the flow asked to be confirmed. */
export function changeInPortal(context: ControlContext, body: Body, id: string): Body {
  return act(context, id, (world, session) => {
    const confirmed = session.flow?.subscription_update_confirm?.items[0]
    return changeThere(world, session, subjectOf(world, session, field(body, 'subscription')), {
      price: field(body, 'price') ?? confirmed?.price ?? undefined,
      quantity: count(body) ?? confirmed?.quantity,
    })
  })
}

export function resumeInPortal(context: ControlContext, body: Body, id: string): Body {
  return act(context, id, (world, session) =>
    resumeThere(world, subjectOf(world, session, field(body, 'subscription'))),
  )
}

/** The customer's card; with `subscription`, the card of that one. */
export function cardInPortal(context: ControlContext, body: Body, id: string): Body {
  const named = field(body, 'subscription')
  return act(context, id, (world, session) => {
    const sub = named === undefined ? undefined : subjectOf(world, session, named)
    cardThere(world, session, field(body, 'payment_method') ?? 'pm_card_visa', sub)
    return sub
  })
}
