/** Owns the last line of a test run, which scripts read: `N passed, N failed`. */
const { reporters, Runner } = require('mocha')

module.exports = class extends reporters.Spec {
  constructor(runner, options) {
    super(runner, options)
    // registered after Spec's own summary, so it is printed after it
    runner.once(Runner.constants.EVENT_RUN_END, () => {
      console.log(`${runner.stats.passes} passed, ${runner.stats.failures} failed`)
    })
  }
}
