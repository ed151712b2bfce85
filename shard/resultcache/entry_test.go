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

// A digest over the values of --env stays on the machine: who has all else that it
// is made of could find a short value by trying.
func TestTheKeyIsNotPublished(t *testing.T) {
	id := "debian/6.12.0__1"
	kept := report.Result{ID: id, Digest: sumOf(nil), Verdict: report.Pass, Attempts: 1, Accel: "tcg", Boot: "cold", Console: "results/" + id + ".txt"}
	var seen []string
	for _, nonce := range []string{"a", "b"} {
		e := &Entry{Schema: schema, Key: sumOf([]byte("env")), Nonce: nonce, At: time.Unix(1, 0), Kernel: kept}
		k, err := e.result(kernel.Ref{Distro: "debian", Name: "6.12.0__1", Digest: kept.Digest}, e.Key, e.At, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, k.Reused.Key, e.Key)
	}
	if seen[0] == seen[1] || seen[0] == seen[2] {
		t.Errorf("published and real keys %q", seen)
	}
}
