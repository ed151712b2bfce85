// Package merge makes one result of the shard files of a run. It finds the files
// in artifacts, takes each shard's highest attempt, and proves that every kernel
// of the list has exactly one result. What keeps it from being proven is a
// refusal, and a result with refusals is no pass.
//
// It trusts nothing that it reads. It knows no report format.
package merge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// maxRefusals is how many reasons a report gives.
const maxRefusals = 200

// Options is what merge knows beside the shard files.
type Options struct {
	Tool  string           // version of this program
	At    time.Time        // of the merge
	Plan  *report.PlanFile // the pinned list; nil: it is taken from the shard files
	Needs []Need           // of the job that merges; nil: not known
	Base  *report.Merged   // to compare with, whole; nil: none

	NotCompared string // why there is no Base, in one line; "": nobody wants one

	MaxInsnsGrowth int // percent, by which a BPF program may grow against Base; 0: by any

	Advisory bool // see report.Merged

	// Problems are further reasons, one line each, why the result cannot be
	// green: input that was given and cannot be read.
	Problems []string
}

// Merge makes one result of the shard files. Those that name a program are merged
// program by program, see join. It is a pass only when every shard
// of one run is there and whole, all were cut from the same list, each kernel of
// that list has exactly one result, each of these is a pass, and every job that
// was waited for agrees. What speaks against it is in the result's refusals.
//
// The second result says for each kernel that has a result which file that is
// from.
func Merge(c *Collected, o Options) (*report.Merged, map[string]*File) {
	g := newMerger(o.Plan)
	g.m.Tool, g.m.At = o.Tool, o.At.UTC()
	g.m.Advisory = o.Advisory
	for _, p := range slices.Concat(c.Problems, o.Problems) {
		g.refuse(0, "", "%s", p)
	}
	if len(c.Files) == 0 {
		g.refuse(0, "", "no shard file was found: every shard is missing")
	}
	if programs := byProgram(c.Files); programs != nil {
		g.join(programs)
	} else {
		g.collect(c.Files)
	}
	g.allowed()
	g.needs(o.Needs)
	g.change(o)
	g.picks(o)
	g.judge()
	return g.m, g.from
}

// change compares with the base. With a limit on growth the result is no pass if a
// base cannot tell whether it holds.
func (g *merger) change(o Options) {
	g.m.NotCompared = o.NotCompared
	base, why := o.Base, ""
	if base != nil && base.Arch != "" && g.m.Arch != "" && base.Arch != g.m.Arch {
		why = fmt.Sprintf("the base is of %s, this result of %s", report.OneLine(base.Arch, 100), g.m.Arch)
		base, g.m.NotCompared = nil, why
	}
	g.m.Earlier = report.Keep(base, g.left)
	if base != nil {
		g.m.Change = analysis.NewChange(base, g.m, o.MaxInsnsGrowth)
		g.m.Change.Gone = slices.DeleteFunc(g.m.Change.Gone, func(id string) bool {
			_, held := g.left[id]
			return held || g.unknown
		})
		if c := g.m.Change; c.CostsCompared == 0 && c.CostsUnknown > 0 {
			why = "the base has no number to compare a BPF program with"
		}
	}
	if why != "" && o.MaxInsnsGrowth > 0 {
		g.refuse(0, "", "%s: whether one grew by more than %d %% is not known", why, o.MaxInsnsGrowth)
	}
}

// picks says how picks have done: in this run, or in the full one that the base
// knows of.
func (g *merger) picks(o Options) {
	if !g.picked {
		g.m.Picks = analysis.ScorePicks(g.m)
	} else if o.Base != nil && o.Base.Picks != nil {
		picks := *o.Base.Picks
		picks.Base, g.m.Picks = true, &picks
	}
}

// represent takes the kernels that others represent. One that was given to a
// shard, or whose other was not, is none: what shards say takes no kernel out of
// the list.
func (g *merger) represent(list []report.Represented, given func(id string) bool) {
	g.picked = len(list) > 0
	if !report.PickedFor(list, g.m.Kernels) {
		g.refuse(0, "", "%s", report.OtherPrograms)
		return
	}
	for _, r := range list {
		switch {
		case given(r.ID):
			g.refuse(0, r.ID, "%s is said to be represented by %s, and was given to a shard", r.ID, r.By)
		case !given(r.By):
			g.refuse(0, r.ID, "%s is said to be represented by %s, which was given to no shard", r.ID, r.By)
		default:
			g.m.Represented = append(g.m.Represented, r)
		}
	}
}

// merger is one merge at work.
type merger struct {
	plan    *report.PlanFile
	program string // whose files they are; "": they name none
	m       *report.Merged
	kernels map[string]*merging
	from    map[string]*File
	files   []*File // that count

	left        map[string]bool      // ids that the sources hold and the run left out; true: since they are not new
	unknown     bool                 // which kernels a missing shard had
	represented []report.Represented // as the plan or all shards say
	picked      bool                 // there are some
	more        int                  // refusals beyond maxRefusals
}

func newMerger(plan *report.PlanFile) *merger {
	return &merger{
		plan: plan, m: &report.Merged{Schema: report.MergedSchema, Kernels: []report.Result{}},
		kernels: map[string]*merging{}, from: map[string]*File{}, left: map[string]bool{},
	}
}

// collect takes the files of one program, or of none.
func (g *merger) collect(files []*File) {
	ch := g.choose(files)
	g.m.RunID, g.m.Attempt = ch.runID, ch.attempt
	g.compare(ch)
	for _, i := range slices.Sorted(maps.Keys(ch.shards)) {
		g.shard(ch.shards[i])
		g.files = append(g.files, ch.shards[i].File)
	}
	g.missingShards(ch)
	g.finish()
}

// merging is a kernel and the shard that it was first seen in.
type merging struct {
	report.Result
	shard int
}

func (g *merger) refuse(shard int, kernel, format string, args ...any) {
	if len(g.m.Refusals) == maxRefusals {
		g.more++
		return
	}
	g.m.Refusals = append(g.m.Refusals, report.Refusal{Shard: shard, Kernel: kernel, Reason: report.OneLine(fmt.Sprintf(format, args...), 600)})
}

// compare holds the shards' plans against each other, or against the plan.
func (g *merger) compare(ch chosen) {
	var files []*File
	for _, i := range slices.Sorted(maps.Keys(ch.shards)) {
		files = append(append(files, ch.shards[i].File), ch.shards[i].duplicates...)
	}
	agree := func(what, planned string, of func(report.Plan) string) string {
		want, whose := planned, "the plan's is"
		if g.plan == nil || planned == "" {
			want, whose = most(files, of), "that of others is"
		}
		same := true
		for _, f := range files {
			if got := of(f.Plan); got != want {
				same = false
				g.refuse(f.Plan.Shard, "", "%s, attempt %d: its %s is %q, %s %q", shardName(f.Plan), f.Plan.Attempt, what, got, whose, want)
			}
		}
		if !same && (g.plan == nil || planned == "") {
			return ""
		}
		return want
	}
	plan := g.plan
	if plan == nil {
		plan = &report.PlanFile{}
	}
	planned := ""
	if g.plan != nil {
		planned = fmt.Sprint(len(plan.Shards))
	}
	g.m.List = agree("list's digest", plan.List, func(p report.Plan) string { return p.List })
	g.m.Algorithm = agree("algorithm", plan.Algorithm, func(p report.Plan) string { return p.Algorithm })
	g.m.Arch = agree("architecture", plan.Arch, func(p report.Plan) string { return p.Arch })
	agree("payload", "", func(p report.Plan) string { return p.Payload })
	agree("list of allowed splats", "", report.Plan.AllowDigest)
	agree("digest of expected failures", "", func(p report.Plan) string { return p.Expect })
	agree("number of repeats", "", func(p report.Plan) string { return fmt.Sprint(max(1, p.Repeat)) })
	agree("number of reruns of failed tests", "", func(p report.Plan) string { return fmt.Sprint(p.Rerun, p.FlakyOK) })
	g.m.HeadSHA = agree("commit", "", func(p report.Plan) string { return p.HeadSHA })
	agree("number of shards", planned, func(p report.Plan) string { return fmt.Sprint(p.Shards) })
	represented := plan.Represented
	if g.plan == nil && len(files) > 0 {
		represented = files[0].Plan.Represented
	}
	g.represented = represented
	for _, f := range files {
		if slices.Equal(f.Plan.Represented, represented) {
			continue
		}
		g.refuse(f.Plan.Shard, "", "%s, attempt %d: other kernels are represented than in the plan or in other shards", shardName(f.Plan), f.Plan.Attempt)
		g.represented = plan.Represented
	}
	g.m.Shards = len(plan.Shards)
	g.m.Gone = slices.Clone(plan.Gone)
	g.leave(plan.LeftOut, plan.Known)
	for _, f := range files {
		g.m.Gone = append(g.m.Gone, f.Plan.Gone...)
		g.leave(f.Plan.LeftOut, f.Plan.Known)
		if g.plan == nil {
			g.m.Shards = max(g.m.Shards, f.Plan.Shards)
		}
	}
	slices.Sort(g.m.Gone)
	g.m.Gone = slices.Compact(g.m.Gone)
}

func (g *merger) leave(leftOut, known []string) {
	for _, id := range leftOut {
		g.left[id] = false
	}
	for _, id := range known {
		g.left[id] = true
	}
}

// most returns the value that most files have, of several the one that sorts
// first.
func most(files []*File, of func(report.Plan) string) string {
	n := map[string]int{}
	for _, f := range files {
		n[of(f.Plan)]++
	}
	best := ""
	for _, v := range slices.Sorted(maps.Keys(n)) {
		if n[v] > n[best] {
			best = v
		}
	}
	return best
}

// shard takes one shard's results.
func (g *merger) shard(c *counts) {
	for _, f := range append([]*File{c.File}, c.duplicates...) {
		name := fmt.Sprintf("%s, attempt %d", shardName(f.Plan), f.Plan.Attempt)
		if f.Problem != "" {
			g.refuse(f.Plan.Shard, "", "%s: %s", name, f.Problem)
		}
		g.compareKernels(f, name)
		results := make(map[string]*report.Result, len(f.Kernels))
		for i := range f.Kernels {
			results[f.Kernels[i].ID] = &f.Kernels[i]
		}
		for _, id := range f.Plan.Kernels {
			g.kernel(f, name, id, results[id])
		}
	}
}

// compareKernels holds what a shard was to boot against the plan.
func (g *merger) compareKernels(f *File, name string) {
	if g.plan == nil || f.Plan.Shard > len(g.plan.Shards) {
		return // a number of shards that is not the plan's has been refused
	}
	planned := map[string]bool{}
	for _, id := range g.plan.Shards[f.Plan.Shard-1].Kernels {
		planned[id] = true
	}
	for _, id := range f.Plan.Kernels {
		if !planned[id] {
			g.refuse(f.Plan.Shard, id, "%s was to boot %s, which the plan does not give it", name, id)
		}
		delete(planned, id)
	}
	for _, id := range slices.Sorted(maps.Keys(planned)) {
		g.refuse(f.Plan.Shard, id, "%s did not know of %s, which the plan gives it", name, id)
	}
}

// kernel takes one kernel of a shard's plan. Of two results of one kernel the
// worse one stands.
func (g *merger) kernel(f *File, name, id string, result *report.Result) {
	missing := func(format string, args ...any) report.Result {
		k := report.Result{ID: id, Verdict: report.Missing, Cause: &report.Cause{Title: report.OneLine(name+": "+fmt.Sprintf(format, args...), 500)}}
		if result != nil { // what it left may say what happened
			k.Digest, k.Accel, k.Attempts, k.Console, k.Files = result.Digest, result.Accel, result.Attempts, result.Console, result.Files
		}
		return k
	}
	var k report.Result
	switch {
	case result == nil && f.Problem != "":
		k = missing("%s", f.Problem)
	case result == nil:
		k = missing("its file has no result of this kernel")
	case result.OK() && f.Damaged:
		k = missing("it is said to have passed, but cannot be believed: %s", f.Problem)
	default:
		k = *result
	}
	if p, ok := g.planned(id); ok && result != nil && result.Digest != p.Digest {
		g.refuse(f.Plan.Shard, id, "%s tested %s with the digest %q, the plan pins %q", name, id, result.Digest, p.Digest)
		if k.OK() {
			k = missing("it tested other bytes than the plan pins")
		}
	}
	old, twice := g.kernels[id]
	if twice && old.shard != f.Plan.Shard {
		g.refuse(f.Plan.Shard, id, "%s was given to shard %d and to shard %d", id, old.shard, f.Plan.Shard)
	}
	if twice && rank(&old.Result) >= rank(&k) {
		return
	}
	g.kernels[id] = &merging{k, f.Plan.Shard}
	delete(g.from, id)
	if result != nil {
		g.from[id] = f
	}
}

func (g *merger) planned(id string) (report.PlanKernel, bool) {
	if g.plan == nil {
		return report.PlanKernel{}, false
	}
	return g.plan.Kernel(id)
}

// rank orders results by how much they say against a kernel.
func rank(k *report.Result) int {
	switch {
	case len(k.StaleExpectations) > 0 || k.Verdict.Failed() && !k.FailedAsExpected():
		return 3
	case !k.OK():
		return 2
	case k.Verdict != report.Pass:
		return 1
	default:
		return 0
	}
}

// missingShards names the shards that left nothing, and with a plan their
// kernels.
func (g *merger) missingShards(ch chosen) {
	for i := 1; i <= g.m.Shards; i++ {
		if ch.shards[i] != nil {
			continue
		}
		name := fmt.Sprintf("shard %d of %d", i, g.m.Shards)
		if g.plan == nil {
			g.unknown = true
			g.refuse(i, "", "%s left no shard file, and without a plan nobody knows its kernels", name)
			continue
		}
		g.refuse(i, "", "%s left no shard file", name)
		for _, id := range g.plan.Shards[i-1].Kernels {
			g.lost(i, id, name+" left no shard file")
		}
	}
	if g.plan == nil {
		return
	}
	// A shard whose file has another plan may leave kernels out.
	for _, s := range g.plan.Shards {
		for _, id := range s.Kernels {
			g.lost(s.Shard, id, fmt.Sprintf("shard %d of %d was to boot it and did not know that", s.Shard, g.m.Shards))
		}
	}
}

// lost records a planned kernel of which nothing is known.
func (g *merger) lost(shard int, id, why string) {
	if g.kernels[id] == nil {
		g.kernels[id] = &merging{report.Result{ID: id, Verdict: report.Missing, Cause: &report.Cause{Title: why}}, shard}
	}
}

// finish puts the kernels in order and proves that they are the list.
func (g *merger) finish() {
	list := make([]report.PlanKernel, 0, len(g.kernels))
	for id, k := range g.kernels {
		if p, ok := g.planned(id); ok && k.Digest == "" {
			k.Digest = p.Digest
		}
		g.m.Kernels = append(g.m.Kernels, k.Result)
	}
	slices.SortFunc(g.m.Kernels, func(a, b report.Result) int { return cmp.Compare(a.ID, b.ID) })
	g.represent(g.represented, func(id string) bool { return g.kernels[id] != nil })
	for _, k := range g.m.Kernels {
		list = append(list, report.PlanKernel{ID: k.ID, Digest: k.Digest})
	}
	// With all shards there and in agreement, only a list that is cut wrongly,
	// or digests that are not those of the list, make a difference here.
	if len(g.m.Refusals) == 0 && g.m.List != "" && report.ListDigest(list) != g.m.List {
		g.refuse(0, "", "the kernels of all shards are not the list that was cut: their digest is %s, the list's is %s", report.ListDigest(list), g.m.List)
	}
}

func (g *merger) needs(needs []Need) {
	bad := !report.CountKernels(g.m.Kernels).OK()
	for _, n := range needs {
		if why := n.objection(bad); why != "" {
			g.refuse(0, "", "%s", why)
		}
	}
}

// judge gives the verdict.
func (g *merger) judge() {
	if len(g.m.Kernels) == 0 {
		g.refuse(0, "", "no kernel was tested")
	}
	slices.SortStableFunc(g.m.Refusals, func(a, b report.Refusal) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), strings.Compare(a.Kernel, b.Kernel))
	})
	if g.more > 0 {
		g.m.Refusals = append(g.m.Refusals, report.Refusal{Reason: fmt.Sprintf("and %d more reasons", g.more)})
	}
	g.m.Verdict = report.Pass // unless its kernels or refusals say otherwise
	g.m.Verdict = g.m.Outcome().Verdict
}

// allowed takes the shards' lists of allowed splats, which must be the same.
func (g *merger) allowed() {
	var entries []report.AllowEntry
	for _, f := range g.files {
		for _, e := range f.Plan.Allow {
			if !slices.ContainsFunc(entries, e.Is) {
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b report.AllowEntry) int {
		return cmp.Or(cmp.Compare(a.Pattern, b.Pattern), cmp.Compare(a.Kernels, b.Kernels))
	})
	if len(g.m.Refusals) == 0 && len(g.m.Represented) == 0 { // else there are kernels of which nobody knows
		g.m.Unused = report.UnusedAllowed(entries, g.m.Kernels)
	}
}
