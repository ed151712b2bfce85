package main

import (
	"encoding/json"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// The text of a test's output, in a record that shares the console, is not the
// kernel's, and comes out as it was.
func TestEscapeStamps(t *testing.T) {
	rec := wire.Record{Type: wire.TypeTest, Test: &wire.Test{
		Name:   "[    1.000000] BUG: x",
		Output: "[    1.000000] Kernel panic - not syncing: no\n[    1.000000] [    T7] Oops: no\n[1] [2.5] [    2.000000] kernel BUG at no",
	}}
	body, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	var plain, escaped console.Scanner
	_, _ = plain.Write(append(body, '\n'))
	if len(plain.Findings()) == 0 {
		t.Fatal("the text is not one that the host would take for the kernel's")
	}
	out := escapeStamps(body)
	_, _ = escaped.Write(append(out, '\n'))
	if f := escaped.Findings(); len(f) > 0 {
		t.Errorf("found %+v in %s", f, out)
	}
	var got wire.Record
	if err := json.Unmarshal(out, &got); err != nil || *got.Test != *rec.Test {
		t.Errorf("got %+v, %v", got.Test, err)
	}
}
