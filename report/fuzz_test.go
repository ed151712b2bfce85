package report

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzReadPlanFile(f *testing.F) {
	var b bytes.Buffer
	if err := WritePlanFile(&b, testPlan(2, 3)); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPlanFile(bytes.NewReader(b))
		if err != nil {
			return
		}
		n := 0
		for _, s := range p.Shards {
			n += len(s.Kernels)
		}
		if n != len(p.Kernels) || ListDigest(p.Kernels) != p.List {
			t.Error("a plan that is no partition of its list")
		}
		var out bytes.Buffer
		if err := WritePlanFile(&out, p); err != nil {
			t.Fatal(err)
		}
		again, err := ReadPlanFile(&out)
		if err != nil || !cmp.Equal(p, again) {
			t.Errorf("written and read again: %v, %s", err, cmp.Diff(p, again))
		}
	})
}

func FuzzReadTimings(f *testing.F) {
	f.Add([]byte(`{"schema":1,"kernels":{"debian/6.1":{"total_ns":123,"accel":"tcg"}}}`))
	f.Add([]byte(`{"schema":1,"kernels":{"debian/6.1":{"total_ns":-1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		tm, err := ReadTimings(bytes.NewReader(b))
		if err != nil {
			return
		}
		for id, k := range tm.Kernels {
			if CheckID(id) != nil || k.Total <= 0 || k.Total > maxDuration {
				t.Errorf("%q: %v", id, k)
			}
		}
	})
}
