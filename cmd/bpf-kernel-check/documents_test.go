package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fenceRE   = regexp.MustCompile("(?ms)^```.*?^```")
	linkRE    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingRE = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Links between the documents lead to files and headings that exist.
func TestDocumentLinks(t *testing.T) {
	documents := []string{filepath.Join(repository, "README.md")}
	for _, pattern := range []string{".github/*.md", ".github/docs/*.md", ".github/docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		documents = append(documents, found...)
	}
	for _, document := range documents {
		for _, m := range linkRE.FindAllStringSubmatch(fenceRE.ReplaceAllString(readText(t, document), ""), -1) {
			path, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), path)
			}
			if !exists(target) {
				t.Errorf("%s: %s does not exist", document, m[1])
			} else if heading != "" && !hasHeading(readText(t, target), heading) {
				t.Errorf("%s: %s has no such heading", document, m[1])
			}
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// hasHeading reports whether GitHub gives a heading of the text this anchor.
func hasHeading(text, anchor string) bool {
	for _, m := range headingRE.FindAllStringSubmatch(text, -1) {
		words := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(words, " ", "-") == anchor {
			return true
		}
	}
	return false
}
