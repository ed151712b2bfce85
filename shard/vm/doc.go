// Package vm runs one VM and says what came of it: it watches the console and
// the guest's records, ends the VM when a limit passes, and judges what it saw.
// It owns the limits, the allowed splats, the ways to boot and the trial of
// KVM. It knows nothing of plans, of other kernels or of where results are
// kept, and it never boots a VM a second time: that is its caller's decision.
package vm
