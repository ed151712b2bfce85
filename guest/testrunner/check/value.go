package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Object is a decoded JSON object. Numbers in it are json.Number, because
// inodes, times and capabilities exceed what a float64 holds exactly.
type Object map[string]any

// ParseObject decodes one JSON object and nothing after it.
func ParseObject(b []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, fmt.Errorf("not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more text after the JSON object")
	}
	return o, nil
}

// Lookup finds the value at a dotted path such as "pids.tid" or "argv.0".
func (o Object) Lookup(path string) (any, bool) {
	var v any = map[string]any(o)
	for key := range strings.SplitSeq(path, ".") {
		switch c := v.(type) {
		case map[string]any:
			e, ok := c[key]
			if !ok {
				return nil, false
			}
			v = e
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(c) {
				return nil, false
			}
			v = c[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// show renders a value as JSON. Values are compared by it, so that a string
// "5" is not the number 5, and a number is compared by its digits.
func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func equal(a, b any) bool { return show(a) == show(b) }

// asInt reads a whole number that fits an int64, whatever Go type it has.
func asInt(v any) (int64, bool) {
	n, err := strconv.ParseInt(show(v), 10, 64)
	return n, err == nil
}

// Int finds a whole number at a dotted path.
func (o Object) Int(path string) (int64, bool) {
	v, ok := o.Lookup(path)
	if !ok {
		return 0, false
	}
	return asInt(v)
}
