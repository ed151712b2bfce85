package check

import (
	"fmt"
	"strings"
)

// Output is what a generator left.
type Output struct {
	Stdout string
	Err    string // why it did not do its work; empty when it exited with 0
}

// Parse reads the one JSON object that a generator prints.
func (o Output) Parse() (Object, error) {
	if o.Err != "" {
		return nil, fmt.Errorf("%s", o.Err)
	}
	text := strings.TrimSpace(o.Stdout)
	if text == "" {
		return nil, fmt.Errorf("it printed nothing")
	}
	obj, err := ParseObject([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("it printed no JSON object (%w): %s", err, excerpt([]byte(text)))
	}
	return obj, nil
}
