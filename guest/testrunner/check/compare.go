package check

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxCell = 60      // columns of a value in a table
	maxRaw  = 2 << 10 // bytes of an event shown whole
)

// row is one field of an event beside what it should be.
type row struct {
	path, want, got string
	ok              bool
	lax             bool // ok because the build is an older one
}

// compare holds all fields against an event. Fields that cannot be held
// against anything are left out.
func (v *verifier) compare(fields []Field, o Object) []row {
	var rows []row
	for _, f := range fields {
		if r := v.compareField(f, o); r.path != "" {
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

func wrong(rows []row) int {
	n := 0
	for _, r := range rows {
		if !r.ok {
			n++
		}
	}
	return n
}

// table writes fields side by side; a field that differs is marked with "!".
func (v *verifier) table(rows []row) {
	rows = append([]row{{path: "field", want: "want", got: "got", ok: true}}, rows...)
	var path, want int
	for i := range rows {
		rows[i].want, rows[i].got = clip(rows[i].want, maxCell), clip(rows[i].got, maxCell)
		path = max(path, utf8.RuneCountInString(rows[i].path))
		want = max(want, utf8.RuneCountInString(rows[i].want))
	}
	for _, r := range rows {
		mark := " "
		if !r.ok {
			mark = "!"
		}
		v.fail("  %s %-*s  %-*s  %s", mark, path, r.path, want, r.want, r.got)
	}
}

// show writes an event beside what it should be, and as it came.
func (v *verifier) show(rows []row, e *Event) {
	v.table(rows)
	v.fail("  the line: %s", clip(string(e.Raw), maxRaw))
}

// list writes what was wanted where there is nothing to put beside it.
func (v *verifier) list(rows []row) {
	var path int
	for _, r := range rows {
		path = max(path, utf8.RuneCountInString(r.path))
	}
	for _, r := range rows {
		v.fail("    %-*s  %s", path, r.path, clip(r.want, maxCell))
	}
}

// clip shortens text, never within a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n]
	for !utf8.ValidString(s) && len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return strings.ToValidUTF8(s, "?") + "..."
}
