import assert from 'node:assert/strict'
import { decideRole, type Standing } from '../../src/domain/role.ts'

const T1 = '2027-01-31T10:00:00.000Z'
const T2 = '2027-01-31T10:00:01.000Z'

const mirror = { id: 'sub_b', group: 'default', status: 'active', cancelAt: null, observedAt: T1 }
const a: Standing = { id: 'sub_a', role: 'primary', group: 'default', status: 'active', keptAt: null }
const b: Standing = { id: 'sub_b', role: 'duplicate', group: 'default', status: 'active', keptAt: null }
const c: Standing = { id: 'sub_c', role: 'duplicate', group: 'default', status: 'active', keptAt: null }

describe('the role of a subscription', () => {
  it('is primary for the first of a group, and duplicate for who finds one there', () => {
    assert.deepEqual(decideRole(mirror, []), {
      role: 'primary',
      beside: null,
      unsettled: false,
      orphans: [],
    })
    const second = { role: 'duplicate', beside: 'sub_a', unsettled: true, orphans: [] }
    assert.deepEqual(decideRole(mirror, [a]), second)
    assert.deepEqual(decideRole(mirror, [a, b]), second)
    assert.equal(decideRole({ ...mirror, group: 'addons' }, [a]).role, 'primary')
    assert.equal(decideRole({ ...mirror, id: 'sub_a' }, [a, b]).role, 'primary')
  })

  for (const status of ['canceled', 'incomplete_expired']) {
    it(`is primary for a duplicate whose primary is ${status}`, () => {
      assert.equal(decideRole(mirror, [{ ...a, status }, b]).role, 'primary')
    })

    it(`stays what it was for who is ${status}, who calls the duplicates left alone`, () => {
      const ended = decideRole({ ...mirror, id: 'sub_a', status }, [a, b, c])
      assert.deepEqual([ended.role, ended.orphans], ['primary', ['sub_b', 'sub_c']])
      // the same again, until each of them has looked
      assert.deepEqual(decideRole({ ...mirror, id: 'sub_a', status }, [{ ...a, status }, b]).orphans, [
        'sub_b',
      ])
      assert.equal(decideRole({ ...mirror, status }, [a, b]).role, 'duplicate')
      assert.deepEqual(decideRole({ ...mirror, status }, [a, b, c]).orphans, [])
    })
  }

  it('follows its group: the primary of one is a duplicate in another that has one, and leaves its own alone', () => {
    const other: Standing = { ...a, id: 'sub_other', group: 'addons' }
    const moved = decideRole({ ...mirror, id: 'sub_a', group: 'addons' }, [a, b, other])
    assert.deepEqual(moved, { role: 'duplicate', beside: 'sub_other', unsettled: true, orphans: ['sub_b'] })
    assert.equal(decideRole({ ...mirror, group: 'addons' }, [a, b]).role, 'primary')
  })

  it('of two that are left alone one becomes primary, and the other is beside it', () => {
    assert.deepEqual(decideRole(mirror, [b, c]), {
      role: 'primary',
      beside: null,
      unsettled: false,
      orphans: [],
    })
    const after = decideRole({ ...mirror, id: 'sub_c' }, [{ ...b, role: 'primary' }, c])
    assert.deepEqual([after.role, after.beside], ['duplicate', 'sub_b'])
  })

  it('is settled by an approval while it is to end, and not when it goes on', () => {
    const kept = [a, { ...b, keptAt: T1 }]
    const unsettled = (is: object) => decideRole({ ...mirror, observedAt: T2, ...is }, kept).unsettled
    assert.equal(unsettled({ cancelAt: '2027-02-28T10:00:00.000Z' }), false)
    assert.equal(unsettled({ status: 'canceled' }), false)
    assert.equal(unsettled({}), true)
    // seen before it was carried out
    assert.equal(unsettled({ observedAt: T1 }), false)
  })
})
