package report

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// TimingsSchema is the version of timings.json's format.
const TimingsSchema = 1

// TimingsName is the name of the file that merge writes for the next plan.
const TimingsName = "timings.json"

// Timings says how long kernels took the last time, for the next plan.
type Timings struct {
	Schema  int               `json:"schema"`
	Kernels map[string]Timing `json:"kernels"` // by id
}

// Timing is how long one kernel took.
type Timing struct {
	Total time.Duration `json:"total_ns"` // of its VM, from QEMU's start to its end
	Accel string        `json:"accel,omitempty"`
}

// NewTimings takes the times out of results. Kernels that were not tested, or
// whose time is not known, are left out.
func NewTimings(kernels []Result) Timings {
	t := Timings{Schema: TimingsSchema, Kernels: map[string]Timing{}}
	for _, k := range kernels {
		if ns := k.Phases["vm"]; ns > 0 && k.Verdict.Tested() {
			t.Kernels[k.ID] = Timing{Total: max(1, time.Duration(ns)/time.Duration(max(1, k.Repeats))), Accel: k.Accel}
		}
	}
	return t
}

// WriteTimings writes the timings as JSON.
func WriteTimings(w io.Writer, t Timings) error {
	t.Schema = TimingsSchema
	if err := writeJSON(w, t); err != nil {
		return fmt.Errorf("write the timings: %w", err)
	}
	return nil
}

// ReadTimings reads what WriteTimings wrote, from a hostile place: every id is
// one that CheckID accepts and every time is positive and at most a week.
func ReadTimings(r io.Reader) (Timings, error) {
	var t Timings
	b, err := readAll(r, maxJSON)
	if err == nil {
		err = decodeSchema(b, TimingsSchema, &t)
	}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return Timings{}, fmt.Errorf("timings: %w", err)
	}
	return t, nil
}

func (t Timings) check() error {
	if len(t.Kernels) > maxKernels {
		return fmt.Errorf("they hold more than %d kernels", maxKernels)
	}
	for id, k := range t.Kernels {
		if err := CheckID(id); err != nil {
			return err
		}
		if k.Total <= 0 || k.Total > maxDuration {
			return fmt.Errorf("kernel %s took %d ns: want 1 ns to %v", id, k.Total, maxDuration)
		}
		if err := checkWord("accel", k.Accel); err != nil {
			return fmt.Errorf("kernel %s: %w", id, err)
		}
	}
	return nil
}

// writeJSON writes v indented, with a newline at the end. It leaves <, > and &
// as they are: the files are no web pages.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
