package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Event is one line of the tracer's output that holds an event.
type Event struct {
	Line int           // its number in the tracer's output, from 1
	At   time.Duration // when it was read, since the tracer's start; 0 in a replay
	Type string
	Pids []int64 // the thread groups it is about: of pids, parent_pids, child_pids
	Raw  []byte
}

// Fields decodes the whole event. It is done late, and only for events that a
// test looks at: most lines of a stream belong to processes of no interest.
func (e *Event) Fields() Object {
	o, err := ParseObject(e.Raw)
	if err != nil { // ParseLine accepted it, so this is out of reach
		return Object{}
	}
	return o
}

// Init is the line by which the tracer says that its probes are in place.
type Init struct {
	Line   int
	Old    bool // the form of builds before 2022-09, which lists no features
	Fields Object
}

// Line is what one line of the tracer's output is: an event, the init line, a
// mark for lost events, or another JSON object (all nil).
type Line struct {
	Event *Event
	Init  *Init
	Lost  string
}

// header is what tells whose event a line is. Objects stay as they are, whatever
// the tracer makes of them: decoding all of a line takes longer than making it.
type header struct {
	Type       json.RawMessage `json:"event_type"`
	PIDs       json.RawMessage `json:"pids"`
	ParentPIDs json.RawMessage `json:"parent_pids"`
	ChildPIDs  json.RawMessage `json:"child_pids"`
}

// ParseLine reads one line of the tracer's output, which must be one JSON
// object. The event it returns refers to b.
func ParseLine(b []byte) (Line, error) {
	var h *header
	err := json.Unmarshal(b, &h)
	var other *json.UnmarshalTypeError
	if errors.As(err, &other) || err == nil && h == nil {
		return Line{}, errors.New("not a JSON object")
	}
	if err != nil {
		return Line{}, err
	}
	if h.Type != nil {
		e := &Event{Raw: b}
		if err := json.Unmarshal(h.Type, &e.Type); err != nil || e.Type == "" {
			return Line{}, fmt.Errorf("event_type is %.40s, want the name of an event", h.Type)
		}
		for _, object := range []json.RawMessage{h.PIDs, h.ParentPIDs, h.ChildPIDs} {
			var pids struct {
				TGID *int64 `json:"tgid"` // 0 is a pid as well
			}
			if json.Unmarshal(object, &pids) == nil && pids.TGID != nil && !slices.Contains(e.Pids, *pids.TGID) {
				e.Pids = append(e.Pids, *pids.TGID)
			}
		}
		return Line{Event: e}, nil
	}
	o, err := ParseObject(b)
	if err != nil {
		return Line{}, err
	}
	if o["probes_initialized"] == true {
		return Line{Init: &Init{Fields: o}}, nil
	}
	if o["eventstrace_message"] == "probes initialized" {
		return Line{Init: &Init{Fields: o, Old: true}}, nil
	}
	for _, key := range []string{"lost", "lost_events", "events_lost"} {
		if v, ok := o[key]; ok && !equal(v, 0) && v != false {
			return Line{Lost: show(map[string]any(o))}, nil
		}
	}
	return Line{}, nil
}
