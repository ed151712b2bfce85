package plan

import (
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// Why a kernel is new.
const (
	isNew     = "new"
	isRebuilt = "rebuilt"        // its bytes are others
	notTested = "not tested yet" // it was to be, and nothing came of it
)

// OnlyNew keeps the kernels of which base has no result, and says in New why. One
// that base has as represented counts like the kernel that represents it. base is
// whole. gone are the kernels of base that no source holds any more.
func (p Plan) OnlyNew(base *report.Merged) (fresh Plan, gone []string) {
	digests := map[string]string{}
	for _, e := range p.Entries {
		digests[e.ID()] = e.Ref.Digest
	}
	why := map[string]string{} // "": base has a result
	for _, id := range base.Gone {
		why[id] = notTested
	}
	know := func(id, reason string) {
		why[id] = reason
		_, listed := digests[id]
		if _, held := slices.BinarySearch(p.LeftOut, id); !listed && !held {
			gone = append(gone, id)
		}
	}
	for _, k := range base.Kernels {
		now := digests[k.ID]
		switch {
		case k.Verdict == report.Infra || k.Verdict == report.Missing:
			know(k.ID, notTested)
		case k.Digest != "" && now != "" && k.Digest != now:
			know(k.ID, isRebuilt)
		default:
			know(k.ID, "")
		}
	}
	for _, r := range base.Represented {
		if _, listed := digests[r.By]; listed && why[r.By] == "" {
			know(r.ID, "")
		} else {
			know(r.ID, notTested)
		}
	}
	slices.Sort(gone)
	fresh = p
	fresh.Entries = nil
	for _, e := range p.Entries {
		reason, ok := why[e.ID()]
		switch {
		case !ok:
			e.New = isNew
		case reason == "":
			fresh.Known = append(fresh.Known, e.ID())
			continue
		default:
			e.New = reason
		}
		fresh.Entries = append(fresh.Entries, e)
	}
	return fresh, gone
}
