package check

import (
	"fmt"
	"strings"
)

// maxNearest bounds how many events are decoded to find the nearest one.
const maxNearest = 2000

// maxAbout bounds how many events of a process are listed.
const maxAbout = 20

// notSeen reports an event that did not come, beside the nearest one that did.
func (v *verifier) notSeen(e Expect, pid int64) {
	nearest, rows, of := v.nearest(e)
	if nearest != nil {
		v.fail("%s was not seen. The nearest of %d of its type is line %d:", e.Type, of, nearest.Line)
		v.show(rows, nearest)
	} else {
		v.fail("%s was not seen, nor any other event of its type. It should have been:", e.Type)
		v.list(v.compare(e.Fields, Object{}))
	}
	about := v.run.Log.About(pid)
	if len(about) == 0 {
		v.fail("  no event about process %d was seen at all", pid)
		return
	}
	var b strings.Builder
	for i, ev := range about[:min(len(about), maxAbout)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (line %d)", clip(ev.Type, maxCell), ev.Line)
	}
	if len(about) > maxAbout {
		fmt.Fprintf(&b, " and %d more", len(about)-maxAbout)
	}
	v.fail("  events about process %d: %s", pid, b.String())
}

// nearest is the event of the wanted type with the most fields as wanted; among
// equals the one with more identifying fields, then the first. Events that
// another Expect of the test found are not offered again, unless nothing else
// is there.
func (v *verifier) nearest(e Expect) (best *Event, rows []row, of int) {
	all := v.run.Log.OfType(e.Type)
	recent := all[max(0, len(all)-maxNearest):]
	bestScore := -1
	for _, ev := range recent {
		o := ev.Fields()
		rs := v.compare(e.Fields, o)
		score := 4 * (len(rs) - wrong(rs))
		for _, f := range e.Fields {
			if f.ID && v.compareField(f, o).ok {
				score++
			}
		}
		for _, taken := range v.found {
			if taken == ev {
				score = 0
			}
		}
		if score > bestScore {
			best, rows, bestScore = ev, rs, score
		}
	}
	return best, rows, len(all)
}
