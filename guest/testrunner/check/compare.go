package check

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	maxCell    = 60      // columns of a value in a table
	maxRaw     = 2 << 10 // bytes of an event shown whole
	maxNearest = 2000    // events decoded to find the nearest one
	maxAbout   = 20      // events of a process that are listed
)

// row is one field of an event beside what it should be.
type row struct {
	path, want, got string
	ok              bool
	id              bool // the event is found by it
	lax             bool // ok because the build is an older one
}

// match is an event held against what is expected of it.
type match struct {
	*Event
	rows []row
}

func (v *verifier) match(e Expect, ev *Event) match {
	return match{ev, v.compare(e.Fields, ev.Fields())}
}

// identified tells whether it is the event that is meant.
func (m match) identified() bool {
	return !slices.ContainsFunc(m.rows, func(r row) bool { return r.id && !r.ok })
}

func wrong(rows []row) bool {
	return slices.ContainsFunc(rows, func(r row) bool { return !r.ok })
}

// compare holds all fields against an event. Fields that cannot be held
// against anything are left out.
func (v *verifier) compare(fields []Field, o Object) []row {
	var rows []row
	for _, f := range fields {
		if r := v.compareField(f, o); r.path != "" {
			r.id = f.ID
			rows = append(rows, r)
		}
	}
	return rows
}

func (v *verifier) compareField(f Field, o Object) row {
	got, present := o.Lookup(f.Path)
	older := v.run.older()
	if !present && older && f.OlderPath != "" {
		f.Path = f.OlderPath
		got, present = o.Lookup(f.Path)
	}
	r := row{path: f.Path, got: "(no such field)"}
	if present {
		r.got = show(got)
	}
	if !present && f.Newer && older {
		r.want, r.got, r.ok, r.lax = "(newer builds)", "(not printed)", true, true
		return r
	}
	if !present && f.Former {
		return row{ok: true}
	}
	if f.Rule == SameAs {
		other, ok := o.Lookup(f.Want.(string))
		r.want = fmt.Sprintf("as %s", f.Want)
		if ok {
			r.want = fmt.Sprintf("%s (as %s)", show(other), f.Want)
		}
		r.ok = present && ok && equal(got, other)
		return r
	}
	want, known, err := v.want(f)
	if err != nil {
		r.want = "(" + err.Error() + ")"
		return r
	}
	if !known {
		return row{ok: true}
	}
	switch f.Rule {
	case Equal:
		r.want = show(want)
		r.ok = present && equal(got, want)
		if older && f.Older != nil && present && equal(got, f.Older) {
			r.ok = true
		}
	case Not:
		r.want = "not " + show(want)
		r.ok = present && !equal(got, want)
	case Has:
		r.want = "holds " + show(want)
		if list, isList := got.([]any); isList {
			for _, e := range list {
				r.ok = r.ok || equal(e, want)
			}
		}
	}
	return r
}

// table writes fields side by side; a field that differs is marked with "!".
func (v *verifier) table(rows []row) {
	v.aligned(func(w *tabwriter.Writer) {
		fmt.Fprint(w, "    field\twant\tgot\n")
		for _, r := range rows {
			mark := " "
			if !r.ok {
				mark = "!"
			}
			fmt.Fprintf(w, "  %s %s\t%s\t%s\n", mark, r.path, clip(r.want, maxCell), clip(r.got, maxCell))
		}
	})
}

// list writes what was wanted where there is nothing to put beside it.
func (v *verifier) list(rows []row) {
	v.aligned(func(w *tabwriter.Writer) {
		for _, r := range rows {
			fmt.Fprintf(w, "    %s\t%s\n", r.path, clip(r.want, maxCell))
		}
	})
}

func (v *verifier) aligned(write func(*tabwriter.Writer)) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	write(w)
	_ = w.Flush()
	v.details = append(v.details, strings.TrimSuffix(b.String(), "\n"))
}

// show writes an event beside what it should be, and as it came.
func (v *verifier) show(m match) {
	v.table(m.rows)
	v.fail("  the line: %s", clip(string(m.Raw), maxRaw))
}

// notSeen reports an event that did not come, beside the nearest one that did.
func (v *verifier) notSeen(e Expect, pid int64) {
	all := v.run.Log.OfType(e.Type)
	if len(all) > 0 {
		m := v.nearest(e, all[max(0, len(all)-maxNearest):])
		v.fail("%s was not seen. The nearest of %d of its type is line %d:", e.Type, len(all), m.Line)
		v.show(m)
	} else {
		v.fail("%s was not seen, nor any other event of its type. It should have been:", e.Type)
		v.list(v.compare(e.Fields, Object{}))
	}
	about := v.run.Log.About(pid)
	if len(about) == 0 {
		v.fail("  no event about process %d was seen at all", pid)
		return
	}
	var events []string
	for _, ev := range about[:min(len(about), maxAbout)] {
		events = append(events, fmt.Sprintf("%s (line %d)", clip(ev.Type, maxCell), ev.Line))
	}
	more := ""
	if len(about) > maxAbout {
		more = fmt.Sprintf(" and %d more", len(about)-maxAbout)
	}
	v.fail("  events about process %d: %s%s", pid, strings.Join(events, ", "), more)
}

// nearest is the event with the most fields as wanted; among equals the one with
// more identifying fields, then the first. Events that another Expect of the test
// found are not offered again, unless nothing else is there.
func (v *verifier) nearest(e Expect, events []*Event) (best match) {
	bestScore := -1
	for _, ev := range events {
		m := v.match(e, ev)
		score := 0
		for _, r := range m.rows {
			if r.ok {
				score += 4
			}
			if r.ok && r.id {
				score++
			}
		}
		if slices.Contains(v.found, ev) {
			score = 0
		}
		if score > bestScore {
			best, bestScore = m, score
		}
	}
	return best
}

// clip shortens text, never within a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "?") + "..."
}
