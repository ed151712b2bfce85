package check

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
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

// ParseLine reads one line of the tracer's output, which must be one JSON
// object. The event it returns refers to b.
func ParseLine(b []byte) (Line, error) {
	if !json.Valid(b) {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			return Line{}, err
		}
	}
	if i := space(b, 0); i == len(b) || b[i] != '{' {
		return Line{}, fmt.Errorf("not a JSON object")
	}
	var name []byte
	var ids [3][]byte
	members(b, func(key string, value []byte) {
		switch key {
		case "event_type":
			name = value
		case "pids":
			ids[0] = value
		case "parent_pids":
			ids[1] = value
		case "child_pids":
			ids[2] = value
		}
	})
	if name != nil {
		e := &Event{Raw: b}
		if err := json.Unmarshal(name, &e.Type); err != nil || e.Type == "" {
			return Line{}, fmt.Errorf("event_type is %.40s, want the name of an event", name)
		}
		for _, object := range ids {
			if id, ok := tgid(object); ok && !slices.Contains(e.Pids, id) {
				e.Pids = append(e.Pids, id)
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

// tgid is the thread group of an object such as pids; 0 is a pid as well.
func tgid(object []byte) (int64, bool) {
	var id int64
	found := false
	members(object, func(key string, value []byte) {
		if key == "tgid" {
			n, err := strconv.ParseInt(string(value), 10, 64)
			id, found = n, err == nil
		}
	})
	return id, found
}
