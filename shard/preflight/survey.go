package preflight

import (
	"cmp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Survey is what comes of objects on kernels.
type Survey struct {
	Objects []*Object
	Kernels []On // by distribution and version, once finished
}

// On is what comes of the objects on one kernel.
type On struct {
	ID      string
	Err     string   // why nothing is known of it
	Results []Result // of each object

	found []found // by the kinds of a query
}

// Finish orders the kernels and compares each with the oldest: what has another
// type there is changed.
func (s *Survey) Finish() {
	slices.SortStableFunc(s.Kernels, func(a, b On) int {
		ad, an, _ := strings.Cut(a.ID, "/")
		bd, bn, _ := strings.Cut(b.ID, "/")
		return cmp.Or(strings.Compare(ad, bd), report.CompareVersions(an, bn), strings.Compare(an, bn))
	})
	for o, object := range s.Objects {
		for d := range object.Deps {
			var first *Answer
			for k := range s.Kernels {
				if s.Kernels[k].Err != "" || s.Kernels[k].Results[o].Err != "" {
					continue
				}
				a := &s.Kernels[k].Results[o].Answers[d]
				switch {
				case a.Signature == "":
				case first == nil:
					first = a
				case a.shapeOr() != first.shapeOr():
					a.Was = first.Signature
					if a.Status == Present {
						a.Status = Changed
					}
				}
			}
		}
	}
}

func (a *Answer) shapeOr() string {
	if a.shape != "" {
		return a.shape
	}
	return a.Signature
}

// Loads is the worst of all programs on all kernels, but for those that nobody
// loads, and objects without any. A kernel or an object of which nothing is known
// may load nothing.
func (s *Survey) Loads() Loads { return s.worst(Result.Loads) }

// Attaches is the same of attaching them, once they are loaded.
func (s *Survey) Attaches() Loads { return s.worst(Result.Attaches) }

func (s *Survey) worst(of func(Result) Loads) Loads {
	all := WillLoad
	for _, k := range s.Kernels {
		if k.Err != "" {
			all = all.worse(MayLoad)
		}
		for _, r := range k.Results {
			if r.empty() {
				continue
			}
			all = all.worse(of(r))
		}
	}
	return all
}

// empty says whether the object has neither programs nor maps.
func (r Result) empty() bool { return r.Err == "" && len(r.Programs) == 0 }

// Loads is the worst of an object's programs.
func (r Result) Loads() Loads { return r.worst(func(p Program) Loads { return p.Loads }) }

// Attaches is the worst of an object's programs.
func (r Result) Attaches() Loads { return r.worst(func(p Program) Loads { return p.Attaches }) }

func (r Result) worst(of func(Program) Loads) Loads {
	all := WillLoad
	if r.Err != "" || r.empty() {
		all = MayLoad
	}
	for _, p := range r.Programs {
		if p.Skip == "" {
			all = all.worse(of(p))
		}
	}
	return all
}
