package report

// newChange compares a result with an earlier one, both in order of the ids.
// Kernels of which nothing is known on either side are neither better nor
// worse.
func newChange(base, now *Merged) *Change {
	c := &Change{BaseSHA: base.HeadSHA}
	was := make(map[string]*Kernel, len(base.Kernels))
	for i := range base.Kernels {
		was[base.Kernels[i].ID] = &base.Kernels[i]
	}
	for _, k := range now.Kernels {
		old, ok := was[k.ID]
		switch {
		case !ok:
			c.New = append(c.New, k.ID)
		case old.Green() && k.Verdict.failed() && !k.Forgiven():
			c.NewlyFail = append(c.NewlyFail, k.ID)
		case old.Verdict.failed() && k.Verdict == Pass:
			c.Fixed = append(c.Fixed, k.ID)
		}
		delete(was, k.ID)
	}
	for _, k := range base.Kernels {
		if _, ok := was[k.ID]; ok {
			c.Gone = append(c.Gone, k.ID)
		}
	}
	return c
}

// failed says whether a kernel was tested and did not pass.
func (v Verdict) failed() bool { return v.Tested() && v != Pass }
