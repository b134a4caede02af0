/** What the worker runs. Every export is a workflow type. */
export { checkout } from './checkout.ts'
export { customer } from './customer.ts'
export { duty } from './duty.ts'
export { free } from './free.ts'
export { preview } from './preview.ts'
export { subscription } from './subscription.ts'
