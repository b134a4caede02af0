// What the handlers of the control plane are given.
import type { World } from './world.ts'

export interface ControlContext {
  world: World
  now(): number
  catchUp(): number
  origin(): string
  advance(toMs: number): Promise<void>
  inFlight(): number
  pump(): void
}

export type Body = Record<string, unknown>
export type Handler = (context: ControlContext, body: Body, id: string) => unknown

export const nobody = { id: null, idempotency_key: null }
