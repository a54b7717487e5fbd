// Package visutilitytest holds what tests of VisuTility's seams share.
//
// For every seam there is a conformance suite, named after the seam: a function
// that takes a *testing.T and a way to open an implementation, and runs one
// subtest for each promise of the interface. Whoever writes an implementation
// runs it:
//
//	func TestBus(t *testing.T) {
//		visutilitytest.Bus(t, func(t *testing.T) visutility.Bus { … })
//	}
//
// There are also doubles: the least that fulfils a seam, for tests of what uses it.
package visutilitytest
