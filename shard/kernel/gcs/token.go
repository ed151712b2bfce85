package gcs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/compute/metadata"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// token asks for an access token, which the credentials then keep. Asked for
// here, a refusal is one error for the source; the storage library would meet
// it again with each kernel.
func (c *client) token(ctx context.Context, creds *auth.Credentials) error {
	return c.net.retry.Do(ctx, retryable, func() (int64, error) {
		_, err := creds.Token(ctx)
		return 0, err
	})
}

// noAccount says whether a machine of Google's has no service account: its
// metadata server knows no token. It may read what anyone may.
func noAccount(creds *auth.Credentials, err error) bool {
	var none metadata.NotDefinedError
	return len(creds.JSON()) == 0 && errors.As(err, &none)
}

// statusRE reads the errors of cloud.google.com/go/auth for the token service
// and for impersonation, which have no type.
var statusRE = regexp.MustCompile(`(?s)^credentials: status code (\d{3}): (.*)$`)

// tokenRefusal returns the status of an answer that is no access token and what
// it says, 0 when err is none.
func tokenRefusal(err error) (status int, said string) {
	var token *auth.Error
	var server *metadata.Error
	var none metadata.NotDefinedError
	switch {
	case errors.As(err, &token) && token.Response != nil:
		return token.Response.StatusCode, answer(token.Body)
	case errors.As(err, &server):
		return server.Code, bounded.OneLine(server.Message)
	case errors.As(err, &none):
		return http.StatusNotFound, bounded.OneLine(none.Error())
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if m := statusRE.FindStringSubmatch(err.Error()); m != nil {
			status, _ = strconv.Atoi(m[1])
			return status, answer([]byte(m[2]))
		}
	}
	return 0, ""
}

// answer is what the body of a refusal says: OAuth's error and its description,
// or the message of an error of Google's APIs.
func answer(body []byte) string {
	var oauth struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	var api struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	switch {
	case json.Unmarshal(body, &oauth) == nil && oauth.Error != "":
		return bounded.OneLine(oauth.Error + " " + oauth.Description)
	case json.Unmarshal(body, &api) == nil && api.Error.Message != "":
		return bounded.OneLine(api.Error.Message)
	}
	return bounded.OneLine(string(body))
}
