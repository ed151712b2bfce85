package shard

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

// preflightRun holds a payload's BPF objects against the kernels before they boot.
// What it says explains verdicts and decides none.
type preflightRun struct {
	objects []*preflight.Object
	carry   map[string]bool // files that carry objects, by path
	targets []string        // sections of the payload's programs
	modules []string        // that the VMs load
	whole   bool            // the payload is objects, and the whole survey is kept
	btf     *btfhub.Files
	attach  bool // programs are attached, too
	kinds   bool // results tell of which kind the kernels are, whatever that takes
	index   *index.Index

	alternatives [][]string

	mu      sync.Mutex
	kernels []preflight.On
}

// PreflightName is the file in the output directory that says for each of the
// payload's objects what the kernels have of what it depends on.
const PreflightName = "bpf-preflight.txt"

// newPreflight finds the objects: those of an objects payload, and those that a
// program such as EventsTrace carries inside.
func newPreflight(p guest.Payload, types *btfhub.Files, arch string) *preflightRun {
	told, whole := p.Objects()
	s := &preflightRun{targets: p.Targets, carry: map[string]bool{}, modules: slices.Clone(p.Modules), whole: whole, attach: told.Attach || !whole, alternatives: told.Settings.Alternatives, btf: types}
	if p.OnDemand.Wants() != nil || len(p.Own) > 0 {
		s.modules = append(s.modules, "others") // which ones, only the payload tells
	}
	if whole {
		s.targets = nil // of programs that are loaded: see below
	}
	for _, f := range p.Files {
		name := path.Base(f.Path)
		if strings.HasPrefix(f.Path, "/objects/") {
			o := preflight.ReadOrBroken(strings.TrimSuffix(name, ".o"), f.Data, arch)
			for _, t := range told.Objects {
				if t.Path == f.Path {
					o.Loader, o.Broken = t.Loader, cmp.Or(o.Broken, t.Broken)
				}
			}
			if err := o.Apply(told.Settings); err == nil {
				s.objects, s.targets = append(s.objects, o), append(s.targets, o.Targets()...)
			}
			continue
		}
		if whole || f.Path == "/"+guest.Generators {
			continue
		}
		found := preflight.Embedded(name, f.Data, arch)
		s.objects, s.carry[f.Path] = append(s.objects, found...), len(found) > 0
	}
	return s
}

// wants says whether every kernel is to be looked at, booted or not.
func (s *preflightRun) wants() bool { return s != nil && (s.whole || s.kinds) }

// load reads what is known of a kernel: from the index where that has it.
func (s *preflightRun) load(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string) (*preflight.Kernel, error) {
	k, err := s.indexed(im.ID(), im.Digest)
	if k == nil && err == nil {
		k, err = preflight.Load(ctx, im, c, scratch, vmlinux)
	}
	if err == nil {
		err = k.TakeTypes(ctx, s.btf)
	}
	if err != nil {
		return nil, err
	}
	k.LoadOnly(s.modules)
	return k, nil
}

// find reads what is known of a kernel that may not be here: from the index or, with
// fetch, from its source. It is nil where neither is to be had.
func (s *preflightRun) find(ctx context.Context, e plan.Entry, c *kernel.Cache, scratch string, fetch bool) (k *preflight.Kernel, indexed bool, err error) {
	if k, err = s.indexed(e.ID(), e.Ref.Digest); err != nil {
		return nil, true, err
	}
	if k != nil {
		err = k.TakeTypes(ctx, s.btf)
		k.LoadOnly(s.modules)
		return k, true, err
	}
	if !fetch {
		return nil, false, nil
	}
	im, err := e.Source.Open(ctx, e.Ref)
	if err != nil {
		return nil, false, err
	}
	k, err = s.load(ctx, im, c, scratch, "")
	return k, false, err
}

// indexed returns a kernel of the index; nil: it has none of that id and digest.
func (s *preflightRun) indexed(id, digest string) (*preflight.Kernel, error) {
	if digest == "" { // its source does not pin it
		return nil, nil
	}
	f, err := s.index.Facts(id, digest)
	if f == nil || err != nil {
		return nil, err
	}
	return preflight.NewKernel(f)
}

// kind says of which kind a kernel is; see [preflight.Kind].
func (s *preflightRun) kind(k *preflight.Kernel, results []preflight.Result) (kind, lacks string) {
	kind, lacks = preflight.Kind(s.objects, k, results)
	if kind == "" || len(s.objects) == 0 || len(s.targets) == 0 {
		return kind, lacks
	}
	h := sha256.New()
	fmt.Fprintln(h, kind)
	for _, t := range s.targets {
		has, known := k.HasTarget(t)
		fmt.Fprintln(h, has, known)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16]), ""
}

// look adds to f what a kernel has of what the payload depends on, as far as that
// can be told. vmlinux is the unpacked kernel, or "".
func (s *preflightRun) look(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string, f *report.Facts) {
	if s == nil {
		return
	}
	if s.kinds && len(s.objects) == 0 {
		f.Kind = preflight.KindSeries
	}
	if len(s.objects)+len(s.targets) == 0 {
		return
	}
	k, err := s.load(ctx, im, c, scratch, vmlinux)
	if err != nil {
		return
	}
	for _, t := range s.targets {
		if has, known := k.HasTarget(t); known {
			if f.Targets == nil {
				f.Targets = map[string]bool{}
			}
			f.Targets[t] = has
		}
	}
	var deps []report.Dep
	on := preflight.On{ID: im.ID()}
	at := map[string]int{} // several objects may depend on the same
	on.Results = preflight.CheckAll(s.objects, k, s.alternatives, s.attach)
	if s.kinds || len(s.objects) > 0 && len(s.modules) == 0 { // else it may take a pass over the kernel's modules
		f.Kind, _ = s.kind(k, on.Results)
	}
	for n, o := range s.objects {
		r := on.Results[n]
		skipped := map[string]bool{}
		for _, p := range r.Programs {
			skipped[p.Name] = p.Skip != ""
		}
		loaded := func(programs []string) []string {
			return slices.DeleteFunc(slices.Clone(programs), func(p string) bool { return skipped[p] })
		}
		for i, a := range r.Answers {
			d := o.Deps[i]
			programs := loaded(d.Programs)
			if len(programs) == 0 {
				continue
			}
			if !s.attach && a.OnlyAttach(d) {
				a.Breaks = nil // of programs that are only loaded
			}
			note := a.Note
			if a.Want != "" && note == "" {
				note = "the object has " + a.Want
			}
			dep := report.Dep{
				Kind: d.Kind, Name: d.Name, Status: a.Status.String(), Signature: a.Signature, Note: note,
				Programs: programs, Breaks: loaded(a.Breaks),
			}
			key := d.String()
			n, twice := at[key]
			switch {
			case twice:
				if a.Status != preflight.Present && deps[n].Status == preflight.Present.String() {
					deps[n].Status, deps[n].Note = dep.Status, dep.Note
				}
				deps[n].Programs = append(slices.Clone(deps[n].Programs), dep.Programs...)
				deps[n].Breaks = append(slices.Clone(deps[n].Breaks), dep.Breaks...)
				deps[n] = deps[n].Fit()
			case len(deps) < report.MaxDeps:
				at[key] = len(deps)
				deps = append(deps, dep.Fit())
			}
		}
	}
	if s.whole {
		s.mu.Lock()
		// A VM that cannot be restored is looked at once more, to be booted.
		s.kernels = append(slices.DeleteFunc(s.kernels, func(k preflight.On) bool { return k.ID == on.ID }), on)
		s.mu.Unlock()
	}
	f.Deps = deps
}

// write writes the survey of an objects payload.
func (s *preflightRun) write(dir string) error {
	if s == nil || !s.whole || len(s.kernels) == 0 {
		return nil
	}
	all := preflight.Survey{Objects: s.objects, Kernels: s.kernels}
	all.Finish()
	var b bytes.Buffer
	if err := all.Text(&b); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, PreflightName), b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the preflight: %w", err)
	}
	return nil
}

// breakingDeps are those that keep programs from loading that are tests of a
// kernel. What becomes of a program's own objects only its loader knows.
func breakingDeps(k report.Result) (list []string) {
	if k.Facts == nil {
		return nil
	}
	tests := map[string]bool{}
	for _, t := range k.Tests {
		tests[t.Name] = true
	}
	for _, d := range k.Facts.Deps {
		broken := slices.DeleteFunc(slices.Clone(d.Breaks), func(p string) bool { return !tests[p] })
		if len(broken) > 0 {
			list = append(list, d.Kind+" "+d.Name+" is "+d.Status+" ("+strings.Join(broken, ", ")+")")
		}
	}
	return list
}
