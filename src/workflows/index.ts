/** What the worker runs. Every export is a workflow type. */
export { approval } from './approval.ts'
export { checkout } from './checkout.ts'
export { customer } from './customer.ts'
export { duty } from './duty.ts'
export { free } from './free.ts'
export { preview } from './preview.ts'
export { topUp } from './top-up.ts'
export { subscription } from './subscription.ts'
