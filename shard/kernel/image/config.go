package image

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Config is a kernel's configuration: "y", "m", a number or a string by name,
// without CONFIG_. An option that is off is not in it.
type Config map[string]string

// Limits of a configuration.
const (
	maxConfigBytes   = 4 << 20
	maxConfigOptions = 100_000
)

// ErrNoConfig says that a kernel came without its configuration and does not
// hold it either.
var ErrNoConfig = errors.New("the kernel's configuration is not known: it came without a config file, and was built without CONFIG_IKCONFIG")

// ReadConfig reads a configuration as make writes it. Text without any option
// is an error.
func ReadConfig(r io.Reader) (Config, error) {
	c := Config{}
	br := bufio.NewReader(io.LimitReader(r, maxConfigBytes+1))
	read := 0
	for {
		line, err := br.ReadString('\n')
		if read += len(line); read > maxConfigBytes {
			return nil, &bounded.LimitError{What: "size of the kernel's config", Limit: maxConfigBytes}
		}
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "CONFIG_") {
			if len(c) == maxConfigOptions {
				return nil, &bounded.LimitError{What: "number of options of the kernel's config", Limit: maxConfigOptions}
			}
			c[strings.TrimPrefix(name, "CONFIG_")] = strings.Trim(value, `"`)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the kernel's config: %w", err)
		}
	}
	if len(c) == 0 {
		return nil, errors.New("the kernel's config has no CONFIG_ line")
	}
	return c, nil
}

// Has says whether an option is built in or, where a module will do, a module.
func (c Config) Has(option string, module bool) bool {
	return c[option] == "y" || module && c[option] == "m"
}

// Checks says whether a kernel checks itself at so many places that it is several
// times as slow as others: each access to memory, each lock.
func (c Config) Checks() bool {
	return c.Has("KASAN", false) || c.Has("KCSAN", false) || c.Has("KMSAN", false) || c.Has("PROVE_LOCKING", false)
}

// FindConfig reads the configuration that an uncompressed kernel image holds.
func FindConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("look for the kernel's config: %w", err)
	}
	defer f.Close()
	return findConfig(io.LimitReader(f, MaxVmlinux), 8)
}

// The marks around the compressed configuration (kernel/configs.c).
const (
	configBegin = "IKCFG_ST"
	configEnd   = "IKCFG_ED"
)

// findConfig looks for the marks, and takes the first of a number of tries that
// a configuration follows.
func findConfig(r io.Reader, tries int) (Config, error) {
	var rest io.Reader
	err := scan(r, len(configBegin)-1, func(b []byte, _ bool) bool {
		_, behind, found := bytes.Cut(b, []byte(configBegin))
		if found {
			rest = io.MultiReader(bytes.NewReader(bytes.Clone(behind)), r)
		}
		return found
	})
	if err != nil {
		return nil, fmt.Errorf("look for the kernel's config: %w", err)
	}
	if rest == nil {
		return nil, ErrNoConfig
	}
	// What follows the mark is far smaller than the limit.
	packed, err := io.ReadAll(io.LimitReader(rest, maxConfigBytes))
	if err != nil {
		return nil, fmt.Errorf("look for the kernel's config: %w", err)
	}
	if c, ok := packedConfig(packed); ok {
		return c, nil
	}
	if tries <= 1 {
		return nil, ErrNoConfig
	}
	// The mark may stand in code that looks for it.
	return findConfig(io.MultiReader(bytes.NewReader(packed), r), tries-1)
}

func packedConfig(b []byte) (Config, bool) {
	data, _, ok := bytes.Cut(b, []byte(configEnd))
	if !ok {
		return nil, false
	}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	c, err := ReadConfig(zr)
	return c, err == nil
}
