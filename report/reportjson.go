package report

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReportName is the name of the merged result's file.
const ReportName = "report.json"

// WriteReport writes the merged result as JSON, as report.schema.json says.
func WriteReport(w io.Writer, m *Merged) error {
	if err := writeJSON(w, m); err != nil {
		return fmt.Errorf("write the merged result: %w", err)
	}
	return nil
}

// ReadReport reads what WriteReport wrote, from a hostile place, to compare
// with.
func ReadReport(r io.Reader) (*Merged, error) {
	m := new(Merged)
	b, err := readAll(r, maxJSON)
	if err == nil {
		err = decodeSchema(b, MergedSchema, m)
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("merged result: %w", err)
	}
	return m, nil
}

func (m *Merged) check() error {
	for _, w := range []struct{ what, s string }{
		{"tool", m.Tool}, {"list digest", m.List}, {"arch", m.Arch}, {"algorithm", m.Algorithm}, {"run id", m.RunID}, {"head SHA", m.HeadSHA},
	} {
		if err := checkWord(w.what, w.s); err != nil {
			return err
		}
	}
	if m.Verdict != Pass && m.Verdict != Fail && m.Verdict != Missing {
		return errors.New("its verdict is none of pass, fail and missing")
	}
	if err := checkAllow(m.Unused); err != nil {
		return err
	}
	if len(m.Kernels) > maxKernels {
		return fmt.Errorf("it holds more than %d kernels", maxKernels)
	}
	for i := range m.Kernels {
		k := &m.Kernels[i]
		if err := k.check(); err != nil {
			return err
		}
		if i > 0 && strings.Compare(m.Kernels[i-1].ID, k.ID) >= 0 {
			return fmt.Errorf("kernel %s is not in its place, or stands twice", k.ID)
		}
	}
	return nil
}
