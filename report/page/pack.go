package page

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"html/template"
)

// packed is data as it stands in the page: deflated and in base64, in which
// nothing can look like the end of its element.
type packed struct {
	ID   string
	Data string
}

// element holds it. Its id is this package's own.
func (p packed) element() template.HTML {
	return template.HTML(`<script type="text/plain" id="` + p.ID + `">` + p.Data + `</script>` + "\n") //nolint:gosec // base64
}

// pack deflates bytes.
func pack(id string, b []byte) packed {
	var buf bytes.Buffer
	z, err := flate.NewWriter(&buf, flate.BestCompression)
	if err == nil {
		_, err = z.Write(b)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic("page: deflate into memory: " + err.Error()) // it has no reason to
	}
	return packed{id, base64.StdEncoding.EncodeToString(buf.Bytes())}
}

func packJSON(id string, v any) packed { return pack(id, mustJSON(v)) }

// mustJSON is for this package's own types, which hold nothing that JSON lacks.
func mustJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is packed
	if err := e.Encode(v); err != nil {
		panic("page: " + err.Error())
	}
	return b.Bytes()
}
