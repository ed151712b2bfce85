package qemu

import (
	"slices"
	"strings"
	"testing"
)

func TestHangLimitsAreInOrder(t *testing.T) {
	for _, a := range []Accel{KVM, TCG} {
		h := watchdogLimits[a]
		// Kernels take thresholds of the watchdog up to 60 and stalls up to 300.
		if h.stall < 20 || h.stall >= h.lockup || h.lockup >= h.task || h.lockup%2 != 0 || h.lockup/2 > 60 {
			t.Errorf("%v: %+v", a, h)
		}
		m := machine(t)
		m.Accel = a
		for _, p := range h.params() {
			if !slices.Contains(strings.Fields(m.Cmdline()), p) {
				t.Errorf("%v: %s is not in %s", a, p, m.Cmdline())
			}
		}
	}
	if k, e := watchdogLimits[KVM], watchdogLimits[TCG]; e.stall < k.stall || e.lockup < k.lockup || e.task < k.task {
		t.Error("emulation has less time than hardware")
	}
}
