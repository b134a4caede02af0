// Runs what is due, in order, each at its own instant.
import { deadlines } from './resources.ts'
import type { World } from './world.ts'

const nobody = { id: null, idempotency_key: null }

/** Everything due at or before `ms`. */
export function runUntil(world: World, ms: number): void {
  for (;;) {
    const due = world.deadlines.first()
    if (!due || due.at > ms) return
    const act = deadlines[due.purpose]
    const clear = (): void => world.deadlines.clear(due.purpose, due.target)
    world.step(
      due.at,
      nobody,
      () => {
        clear()
        act?.(world, due.target)
      },
      // A mistake of the simulator's is told once; it must not stop time for everybody.
      { keeps: () => false, note: clear },
    )
  }
}
