package resultcache

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

func FuzzParse(f *testing.F) {
	p := &Entry{Schema: schema, Key: sumOf(nil), At: time.Unix(1, 0), Kernel: report.Result{ID: "a/b", Verdict: report.Pass}, Console: []byte("x")}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), false)
	f.Add([]byte("{}"), true)
	f.Add([]byte(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			b = append([]byte(sumOf(b)+"\n"), b...)
		}
		p, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		if k, err := p.result(kernel.Ref{Distro: "a", Name: "b"}, p.Key, p.At, time.Hour); err == nil && (k.Verdict != report.Pass || k.Reused == nil) {
			t.Fatalf("%+v", k)
		}
	})
}
