package github

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A marker is the hidden first line of all that is written to GitHub, by which
// a later run finds it again.
type marker struct {
	Kind    string `json:"kind"` // comment, issue or note
	Name    string `json:"name"` // of the check
	Run     int64  `json:"run"`
	Attempt int    `json:"attempt"`
	Head    string `json:"head"` // the commit that was tested
}

const (
	kindComment = "comment" // the one comment on a pull request
	kindIssue   = "issue"   // the tracking issue
	kindNote    = "note"    // a comment on the tracking issue

	markerBegin = "<!-- bpf-kernel-check "
	markerEnd   = " -->"
	maxMarker   = 2048 // bytes
)

// String is the marker's line. JSON as Go writes it holds neither < nor >, so
// that no name can end the comment.
func (m marker) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("marker: %v", err)) // strings and numbers always can be written
	}
	return markerBegin + string(b) + markerEnd
}

// parseMarker reads the marker at the beginning of a text, and only there:
// what follows may quote a guest.
func parseMarker(text string) (marker, bool) {
	rest, ok := strings.CutPrefix(text, markerBegin)
	if !ok {
		return marker{}, false
	}
	rest = rest[:min(len(rest), maxMarker)]
	if line, _, ok := strings.Cut(rest, "\n"); ok {
		rest = line
	}
	body, after, ok := strings.Cut(rest, markerEnd)
	if !ok || strings.TrimSpace(after) != "" {
		return marker{}, false
	}
	var m marker
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return marker{}, false
	}
	if m.Run < 1 || m.Attempt < 1 || !shaRE.MatchString(m.Head) || CheckName(m.Name) != nil {
		return marker{}, false
	}
	switch m.Kind {
	case kindComment, kindIssue, kindNote:
		return m, true
	default:
		return marker{}, false
	}
}

// newer says whether m is of a later run than o, or of a later attempt of the
// same run.
func (m marker) newer(o marker) bool {
	return m.Run > o.Run || m.Run == o.Run && m.Attempt > o.Attempt
}

// CheckName says what is wrong with the name of a check. It stands in the
// marker, in the status and in titles.
func CheckName(name string) error {
	printable := strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0
	if name == "" || len(name) > 100 || !printable || strings.TrimSpace(name) != name {
		return fmt.Errorf("name %q: want 1 to 100 bytes of printable text", clip(name, 120))
	}
	return nil
}
