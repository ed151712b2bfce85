package build

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// optionLine matches "CONFIG_NAME=value" and "# CONFIG_NAME is not set".
var optionLine = regexp.MustCompile(`^(?:CONFIG_([A-Za-z0-9_]+)=|# CONFIG_([A-Za-z0-9_]+) is not set)`)

// merge returns the base with the recipe's options in place of its own, and its
// modules turned into what the recipe wants them to be. Options that are off
// stay in the text: without their line, olddefconfig would set their default.
func merge(base []byte, r Recipe) []byte {
	ours := make(map[string]bool, len(r.Options))
	for _, o := range r.Options {
		ours[o.Name] = true
	}
	var b bytes.Buffer
	for line := range bytes.Lines(base) {
		line = bytes.TrimRight(line, "\r\n")
		m := optionLine.FindSubmatch(line)
		if m == nil {
			continue
		}
		name := string(m[1]) + string(m[2])
		switch {
		case ours[name]:
		case bytes.HasSuffix(line, []byte("=m")):
			writeOption(&b, Option{Name: name, Value: r.Modules})
		default:
			b.Write(line)
			b.WriteByte('\n')
		}
	}
	for _, o := range r.Options {
		writeOption(&b, o)
	}
	return b.Bytes()
}

func writeOption(b *bytes.Buffer, o Option) {
	if o.Value == "n" {
		fmt.Fprintf(b, "# CONFIG_%s is not set\n", o.Name)
	} else {
		fmt.Fprintf(b, "CONFIG_%s=%s\n", o.Name, o.Value)
	}
}

// unmet returns the options that a configuration does not have as wanted.
func unmet(c image.Config, options []Option) []Option {
	var out []Option
	for _, o := range options {
		want := strings.Trim(o.Value, `"`)
		if want == "n" {
			want = ""
		}
		if !o.Helper && c[o.Name] != want {
			out = append(out, o)
		}
	}
	return out
}

// ConfigError says which wanted options a tree did not take, and why.
type ConfigError struct {
	Reasons []string // a line for each option
}

func (e *ConfigError) Error() string {
	return "the configuration is not what was asked for: " + strings.Join(e.Reasons, "; ")
}
