package check

import (
	"bytes"
	"encoding/json"
	"strings"
)

// mend makes JSON of an event that an older build printed without escaping its
// strings: quotes stand in them as they are, and bytes that are no ASCII as \x
// and two digits. ok tells that the line is a whole event then; a line that was
// cut, or has anything else wrong with it, is not.
//
// A text ends at the first quote with the end of the line behind it, or with a
// key that an older build prints behind a text.
func mend(line []byte) (event []byte, ok bool) {
	// Another beginning in it is that of an event whose line did not begin anew.
	begin := []byte(`{"event_type":"`)
	if !bytes.HasPrefix(line, begin) || bytes.Count(line, begin) > 1 {
		return nil, false
	}
	out := make([]byte, 0, len(line)+16)
	inKey, inText, isKey := false, false, true
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"' && inKey:
			inKey = false
		case c == '"' && inText && !textEnds(line[i+1:]):
			out = append(out, '\\')
		case c == '"' && inText:
			inText = false
		case c == '"':
			inKey, inText = isKey, !isKey
		case c == '\\' && i+1 < len(line):
			out = append(out, c)
			i++
			if c = line[i]; c == 'x' {
				// A byte above 0x7f is printed as a negative number.
				digits := bytes.TrimPrefix(line[i+1:], []byte("ffffff"))
				if len(digits) < 2 {
					return nil, false
				}
				out = append(out, "u00"...)
				out = append(out, digits[0])
				i = len(line) - len(digits) + 1
				c = line[i]
			}
		case !inKey && !inText:
			isKey = c == '{' || c == ','
		}
		out = append(out, c)
	}
	if !json.Valid(out) {
		return nil, false
	}
	l, err := ParseLine(out)
	return out, err == nil && l.Event != nil && strings.Trim(l.Event.Type, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// textEnds tells whether a quote with rest behind it ends a text.
func textEnds(rest []byte) bool {
	if len(rest) == 1 && rest[0] == '}' {
		return true
	}
	key, found := bytes.CutPrefix(rest, []byte(`,"`))
	if !found {
		return false
	}
	key, _, found = bytes.Cut(key[:min(len(key), 32)], []byte(`":`))
	if !found {
		return false
	}
	switch string(key) {
	case "pids", "parent_pids", "child_pids", "mount_namespace", "comm", "path", "new_path", "filename", "cwd", "argv",
		"pids_ss_cgroup_path", "exit_code", "ctty", "tty_out", "family", "source_address", "source_port", "destination_port":
		return true
	}
	return false
}
