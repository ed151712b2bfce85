package build

import (
	"bytes"
	"fmt"
	"strings"
)

// config is a kernel's configuration, by names without CONFIG_: y, m, n or a
// value as it stands in the file. What is not set is not in it, or n.
type config map[string]string

// parseConfig reads a .config. Lines that are none of one are passed over, as
// kconfig does.
func parseConfig(b []byte) config {
	c := make(config)
	for line := range bytes.Lines(b) {
		if name, value, ok := configLine(line); ok {
			c[name] = value
		}
	}
	return c
}

// configLine reads "CONFIG_NAME=value" or "# CONFIG_NAME is not set".
func configLine(line []byte) (name, value string, ok bool) {
	s := strings.TrimRight(string(line), "\r\n")
	if rest, found := strings.CutPrefix(s, "# CONFIG_"); found {
		name, ok = strings.CutSuffix(rest, " is not set")
		value = "n"
	} else if rest, found := strings.CutPrefix(s, "CONFIG_"); found {
		name, value, ok = strings.Cut(rest, "=")
	}
	if !ok || name == "" || strings.Trim(name, wordBytes) != "" {
		return "", "", false
	}
	return name, value, true
}

const wordBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

// merge returns the base with the recipe's options instead of its own, and its
// modules turned into what the recipe wants them to be.
func merge(base []byte, r Recipe) []byte {
	ours := make(map[string]bool, len(r.Options))
	for _, o := range r.Options {
		ours[o.Name] = true
	}
	var b bytes.Buffer
	for line := range bytes.Lines(base) {
		name, value, ok := configLine(line)
		switch {
		case !ok || ours[name]:
		case value == "m":
			writeOption(&b, Option{Name: name, Value: r.Modules})
		default:
			writeOption(&b, Option{Name: name, Value: value})
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
func unmet(c config, options []Option) []Option {
	var out []Option
	for _, o := range options {
		if !o.Helper && c.value(o.Name) != o.Value {
			out = append(out, o)
		}
	}
	return out
}

func (c config) value(name string) string {
	if v, ok := c[name]; ok {
		return v
	}
	return "n"
}

// ConfigError says which wanted options a tree did not take, and why.
type ConfigError struct {
	Reasons []string // a line for each option
}

func (e *ConfigError) Error() string {
	return "the configuration is not what was asked for: " + strings.Join(e.Reasons, "; ")
}
