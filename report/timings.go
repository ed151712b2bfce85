package report

import (
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
	Kernels map[string]Timing `json:"kernels" limit:"100000"` // by id
}

// Timing is how long one kernel took.
type Timing struct {
	Total time.Duration `json:"total_ns"` // of its VM, from QEMU's start to its end
	Accel string        `json:"accel,omitempty" limit:"word"`
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
	return writeDocument(w, "timings", t)
}

// ReadTimings reads what WriteTimings wrote, from a hostile place: every id is
// one that CheckID accepts and every time is positive and at most a week.
func ReadTimings(r io.Reader) (t Timings, err error) {
	if err = readDocument(r, "timings", TimingsSchema, &t); err != nil {
		return Timings{}, err
	}
	return t, nil
}

func (t *Timings) check() error {
	for id, k := range t.Kernels {
		if err := CheckID(id); err != nil {
			return err
		}
		if k.Total <= 0 {
			return fmt.Errorf("kernel %s took %d ns: want a time", id, k.Total)
		}
	}
	return nil
}
