package analysis

import (
	"testing"

	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func BenchmarkGroups(b *testing.B) {
	m := reporttest.Synthetic(1000, 256, 30)
	for b.Loop() {
		Groups(m)
	}
}
