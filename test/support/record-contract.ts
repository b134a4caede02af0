/** `npm run record:contract`: keeps the API's document as the one that later changes are compared with. */
import { writeFileSync } from 'node:fs'
import { currentDocument, RECORDED } from './contract.ts'

writeFileSync(RECORDED, `${JSON.stringify(await currentDocument(), null, 1)}\n`)
