// Declared parameters: a small schema that reads Stripe's string trees and refuses what it does not know.
import { invalid, missingParameter, notSimulated, unknownParameter } from './error.ts'
import type { Form, FormTree } from './form.ts'

export interface Param<T> {
  read(form: Form, path: string): T
  required?: true
}
export type Shape = { [name: string]: Param<unknown> }
export type Read<S extends Shape> = {
  [K in keyof S]: S[K] extends Param<infer T> ? (S[K] extends { required: true } ? T : T | undefined) : never
}

export const str: Param<string> = {
  read(form, path) {
    if (typeof form !== 'string') throw invalid(`Invalid string: ${JSON.stringify(form)}`, path)
    if (form === '') {
      const why = `You passed an empty string for '${path}'. We assume empty values are an attempt to unset a field; however '${path}' cannot be unset. You should remove '${path}' from your request or supply a non-empty value.`
      throw invalid(why, path, 'parameter_invalid_empty')
    }
    return form
  },
}

export const int: Param<number> = {
  read(form, path) {
    const text = str.read(form, path)
    if (!/^-?\d{1,15}$/.test(text))
      throw invalid(`Invalid integer: ${text}`, path, 'parameter_invalid_integer')
    return Number(text)
  },
}

export const bool: Param<boolean> = {
  read(form, path) {
    if (form === 'true') return true
    if (form === 'false') return false
    throw invalid(`Invalid boolean: ${typeof form === 'string' ? form : '{}'}`, path)
  },
}

export const decimal: Param<string> = {
  read(form, path) {
    const text = str.read(form, path)
    if (!/^-?\d{1,20}(\.\d{1,12})?$/.test(text)) throw invalid(`Invalid decimal: ${text}`, path)
    return text
  },
}

/** A feature that may be mentioned but not switched on. */
export function off(what: string): Param<null> {
  return {
    read(form, path) {
      if (typeof form !== 'string' && form['enabled'] === 'true') throw notSimulated(what, path)
      return null
    },
  }
}

/** A feature that may not be mentioned at all. */
export function unsupported(what: string): Param<never> {
  return {
    read(_form, path) {
      throw notSimulated(what, path)
    },
  }
}

/** Known to Stripe and without effect on what the simulator computes; accepted as it is. */
export const any: Param<Form> = { read: (form) => form }

export function oneOf<const V extends string>(...values: V[]): Param<V> {
  return {
    read(form, path) {
      const found = values.find((value) => value === form)
      if (found !== undefined) return found
      throw invalid(`Invalid ${path}: must be one of ${values.join(', ')}`, path)
    },
  }
}

/** `''` unsets the field: read as null. */
export function emptyable<T>(param: Param<T>): Param<T | null> {
  return { read: (form, path) => (form === '' ? null : param.read(form, path)) }
}

export function either<A, B>(first: Param<A>, second: Param<B>): Param<A | B> {
  return {
    read(form, path) {
      try {
        return first.read(form, path)
      } catch {
        return second.read(form, path)
      }
    },
  }
}

export function required<T>(param: Param<T>): Param<T> & { required: true } {
  return { read: (form, path) => param.read(form, path), required: true }
}

export function list<T>(param: Param<T>): Param<T[]> {
  return {
    read(form, path) {
      if (form === '') return []
      if (typeof form === 'string') throw invalid('Invalid array', path)
      return Object.entries(form).map(([index, value]) => param.read(value, `${path}[${index}]`))
    },
  }
}

export function hash<S extends Shape>(shape: S): Param<Read<S>> {
  return {
    read(form, path) {
      if (typeof form === 'string') throw invalid('Invalid object', path)
      return readShape(shape, form, path)
    },
  }
}

/** Metadata as sent: an empty value removes its key, an empty whole removes all (null). */
export const metadata: Param<Record<string, string> | null> = {
  read(form, path) {
    if (form === '') return null
    if (typeof form === 'string') throw invalid('Invalid object', path)
    const pairs = Object.entries(form).map(([key, value]): [string, string] => {
      if (typeof value !== 'string') throw invalid(`Metadata values must be strings`, `${path}[${key}]`)
      if (key.length > 40) throw invalid('Metadata keys can have at most 40 characters', `${path}[${key}]`)
      if (value.length > 500)
        throw invalid('Metadata values can have up to 500 characters', `${path}[${key}]`)
      return [key, value]
    })
    if (pairs.length > 50) throw invalid('Metadata can have up to 50 keys', path)
    return Object.fromEntries(pairs)
  },
}

export function mergeMetadata(
  old: Record<string, string> | null,
  sent: Record<string, string> | null | undefined,
): Record<string, string> {
  if (sent === null) return {}
  const merged = { ...old, ...sent }
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ''))
}

/** Why a customer left, as Stripe lets it be said. */
export const feedback = oneOf(
  'customer_service',
  'low_quality',
  'missing_features',
  'other',
  'switched_service',
  'too_complex',
  'too_expensive',
  'unused',
)

export function readShape<S extends Shape>(shape: S, form: FormTree, prefix = ''): Read<S> {
  const pathOf = (name: string): string => (prefix === '' ? name : `${prefix}[${name}]`)
  for (const name of Object.keys(form)) {
    if (!Object.hasOwn(shape, name)) throw unknownParameter(pathOf(name))
  }
  const out: Record<string, unknown> = {}
  for (const [name, param] of Object.entries(shape)) {
    const value = form[name]
    if (value !== undefined) out[name] = param.read(value, pathOf(name))
    else if (param.required) throw missingParameter(pathOf(name))
  }
  return out as Read<S>
}
