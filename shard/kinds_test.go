package shard

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// A kernel's kind is the same from the index, which takes no file of the kernel,
// and from the kernel.
func TestKindsOfAnIndex(t *testing.T) {
	l := theLab(t)
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := preflight.ReadFacts(t.Context(), im, l.cache, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.bki")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = index.Write(f, func() (*index.Facts, error) {
		defer func() { facts = nil }()
		if facts == nil {
			return nil, io.EOF
		}
		return facts, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()

	b, err := os.ReadFile("preflight/testdata/filelife.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	// A program that carries an object.
	p := guest.Payload{Job: wire.Job{Args: []string{"/x"}}, Files: []guest.File{{Path: "/x", Mode: 0o755, Data: append([]byte("\x7fELF\x02\x01 no object"), b...)}}}
	other := l.entry
	other.Ref.Digest = "sha256:of other bytes"
	kernels := Kinds{Payload: p, Arch: "amd64", Read: true, Cache: l.cache, Scratch: t.TempDir()}
	read, err := kernels.Find(t.Context(), []plan.Entry{l.entry})
	if err != nil {
		t.Fatal(err)
	}
	indexed, err := Kinds{Payload: p, Arch: "amd64", Index: x}.Find(t.Context(), []plan.Entry{l.entry})
	if err != nil {
		t.Fatal(err)
	}
	id := l.entry.ID()
	if read.Kinds[id] == "" || read.Series {
		t.Errorf("read: %+v", read)
	}
	if d := cmp.Diff(read, indexed); d != "" {
		t.Errorf("(-read +indexed):\n%s", d)
	}
	lacking, err := Kinds{Payload: p, Arch: "amd64", Index: x}.Find(t.Context(), []plan.Entry{other})
	if d := cmp.Diff(Found{Kinds: map[string]string{id: ""}, Unknown: map[string]int{}, Lacking: 1}, lacking); err != nil || d != "" {
		t.Errorf("%v, of other bytes (-want +got):\n%s", err, d)
	}

	// A run takes its facts from the index too, and tells the kind.
	s := newPreflight(p, nil, "amd64")
	s.index, s.kinds = x, true
	var got report.Facts
	s.look(t.Context(), im, nil, "", "", &got)
	if got.Kind != read.Kinds[id] || len(got.Deps) == 0 {
		t.Errorf("facts %+v", got)
	}
}

// Of several programs those are named of which no kind tells what they depend on.
func TestKindsOfSeveralPrograms(t *testing.T) {
	object, err := os.ReadFile("preflight/testdata/filelife.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	p, err := guest.ProgramsPayload([]guest.TestProgram{
		{Name: "carries", Path: "carries", Data: append([]byte("\x7fELF"), object...)},
		{Name: "has-none", Path: "has-none", Data: []byte("\x7fELF")},
		{Name: "installed", Path: "/bin/true", Installed: true},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Kinds{Payload: p, Arch: "amd64"}.Find(t.Context(), nil)
	if d := cmp.Diff([]string{"has-none", "installed"}, found.Without); err != nil || found.Series || d != "" {
		t.Errorf("%+v, %v (-want +got):\n%s", found, err, d)
	}
}
