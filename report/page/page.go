// Package page writes a merged result as one HTML file that needs nothing
// else: no network, no server, no framework.
//
// What the guests said is text and stays text. Static parts go through
// html/template; the rest is data, deflated and in base64, of which the
// script makes text nodes only. A content security policy allows the one script
// and the one style by their digests, and no request at all.
//
// The file's size has a limit, whatever the guests printed: see limits.go. What
// is left out is said in the page.
package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"

	"github.com/elastic/bpf-kernel-check/report"
)

// Name is the name of the page's file.
const Name = "report.html"

var (
	//go:embed page.css
	css string
	//go:embed page.js
	js string
	//go:embed page.tmpl
	tmpl string
)

// Options say what stands around the results. The zero value is good.
type Options struct {
	RunURL   string                  // page of the workflow's run
	Commit   func(sha string) string // address of a commit's page; nil or "": no link
	Consoles fs.FS                   // holds the consoles at the paths that the result names; nil: none are shown
	History  *History                // of earlier runs; nil: none
}

// Write writes the page of a result.
func Write(w io.Writer, m *report.Merged, o Options) error {
	t, err := template.New(Name).Parse(tmpl)
	if err == nil {
		err = t.Execute(w, newView(m, o))
	}
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// policy lets the page's own script and style run, and nothing be fetched.
func policy() string {
	return "default-src 'none'; script-src " + source(js) + "; style-src " + source(css) +
		"; img-src data:; base-uri 'none'; form-action 'none'"
}

// source is a text as content security policies name it.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
