package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func sampleKernels() []Kernel {
	k := func(id string, v Verdict, title string) Kernel {
		kk := Kernel{ID: id, Verdict: v}
		if title != "" {
			kk.Cause = &Cause{Title: title}
		}
		return kk
	}
	return []Kernel{
		k("fedora/5.8.15-301.fc33.x86_64__8a921f5b", Crash, "BUG"),
		k("fedora/5.11.12-300.fc34.x86_64__b52ee374", Pass, ""),
		k("fedora/5.14.10-300.fc35.x86_64__64d04be8", Timeout, "timeout"),
		k("amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e", Fail, "x failed"),
		k("amazonlinux2/5.10.29-27.126.amzn2.x86_64__27df3384", Pass, ""),
		k("amazonlinux2/5.10.99-1.amzn2.x86_64__broken", Infra, "unpack:\nunexpected \x1b[31mEOF"),
		k("mainline/mainline-v5.9", Pass, ""),
		k("mainline/mainline-v5.13.4", Pass, ""),
		k("mainline/mainline-v5.13", Pass, ""),
		k("mainline/mainline-v5.13-rc2", Pass, ""),
		k("mainline/mainline-v6.1", NoBoot, "Kernel panic - not syncing: VFS"),
		k("zz/never", Missing, ""),
	}
}

func TestSummary(t *testing.T) {
	at := time.Date(2022, 3, 30, 23, 37, 2, 0, time.UTC)
	var b strings.Builder
	if err := WriteSummary(&b, at, sampleKernels()); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.txt", b.String())

	// The order of the results changes nothing, nor does the clock's zone.
	for range 5 {
		ks := sampleKernels()
		rand.Shuffle(len(ks), func(i, j int) { ks[i], ks[j] = ks[j], ks[i] })
		var again strings.Builder
		if err := WriteSummary(&again, at.In(time.FixedZone("x", 3600)), ks); err != nil {
			t.Fatal(err)
		}
		if again.String() != b.String() {
			t.Fatalf("another order gives another summary:\n%s", again.String())
		}
	}
}

func TestSummaryDate(t *testing.T) {
	var b strings.Builder
	if err := WriteSummary(&b, time.Date(2026, 7, 4, 5, 6, 7, 0, time.UTC), nil); err != nil {
		t.Fatal(err)
	}
	if want := "BPF check run at Sat Jul  4 05:06:07 UTC 2026\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestVerdictText(t *testing.T) {
	for v := Pass; v <= Missing; v++ {
		b, err := v.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Verdict
		if err := got.UnmarshalText(b); err != nil || got != v {
			t.Errorf("%v became %v, %v", v, got, err)
		}
	}
	if b, err := Unknown.MarshalText(); err == nil {
		t.Errorf("unknown is written as %q", b)
	}
	var v Verdict
	for _, bad := range []string{"", "unknown", "PASS", "ok"} {
		if err := v.UnmarshalText([]byte(bad)); err == nil || v != Unknown {
			t.Errorf("%q is read as %v", bad, v)
		}
	}
}

func TestShardFile(t *testing.T) {
	dir := t.TempDir()
	plan := Plan{Tool: "t", List: "sha256:0", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Arch: "amd64", Kernels: []string{"a/1", "a/2"}}
	w, err := CreateShardFile(dir, plan)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shard-001-of-001.attempt-1.ndjson")
	lines := func() []map[string]any {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var all []map[string]any
		r := bufio.NewReader(f)
		for {
			b, err := r.ReadBytes('\n')
			if err != nil {
				return all
			}
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	if n := len(lines()); n != 1 {
		t.Fatalf("%d lines after the start, want the plan", n)
	}
	if err := w.Kernel(Kernel{ID: "a/1", Verdict: Pass, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if n := len(lines()); n != 2 {
		t.Errorf("%d lines after a result: it must be on disk at once", n)
	}
	if err := w.Kernel(Kernel{ID: "a/1", Verdict: Pass}); err == nil {
		t.Error("a second result of the same kernel was taken")
	}
	if err := w.Kernel(Kernel{ID: "b/1", Verdict: Pass}); err == nil {
		t.Error("a kernel outside the plan was taken")
	}
	if err := w.Kernel(Kernel{ID: "a/2"}); err == nil {
		t.Error("a result without a verdict was taken")
	}
	if err := w.Kernel(Kernel{ID: "a/2", Verdict: Pass, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	got := lines()
	if last := got[len(got)-1]; last["type"] != "end" {
		t.Errorf("the last record is %v", last)
	}
	if schema := got[0]["plan"].(map[string]any)["schema"]; schema != float64(Schema) {
		t.Errorf("schema %v", schema)
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\r\n\tc ":               "a b c",
		"\x1b[31mred\x1b[0m\x00":     "red",
		"bad \xff utf8":              "bad ? utf8",
		strings.Repeat("é", 100):     strings.Repeat("é", 13) + "...",
		"::error::x\u202e\u200bhide": "::error::xhide",
	} {
		if got := OneLine(in, 30); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// An error's end, which says why, is not what is cut off.
func TestErrorLine(t *testing.T) {
	uri := "https://deb.debian.org/debian/pool/main/l/linux/" + strings.Repeat("linux-image-6.1.0-9-cloud-amd64-unsigned_", 4) + ".deb"
	err := fmt.Errorf("fetch %s: exit status 1: E: Failed to fetch %s  404  Not Found: the mirror no longer has it", uri, uri)
	s := ErrorLine(err, 300)
	if len(s) > 300 || !strings.HasPrefix(s, "fetch https://deb.debian.org/") || !strings.HasSuffix(s, "404 Not Found: the mirror no longer has it") {
		t.Errorf("%d bytes: %q", len(s), s)
	}
	if got := ErrorLine(errors.New("a\nb"), 300); got != "a b" {
		t.Errorf("%q", got)
	}
	for n := range 40 {
		if s := ErrorLine(errors.New(strings.Repeat("ä", 200)+strings.Repeat("x", n)), 100); len(s) > 100 || !utf8.ValidString(s) {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	}
}
