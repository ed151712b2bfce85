package gcs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
)

// network is how a bucket is reached.
type network struct {
	endpoint string                            // base URL of the JSON API; "" for Google's
	creds    func() (*auth.Credentials, error) // nil credentials: there are none
	idle     time.Duration                     // after which a connection that brings nothing is given up
	retry    fetch.Retry
	page     int // objects in one answer to a listing
}

func publicNetwork() network {
	return network{creds: findCredentials, idle: 30 * time.Second, retry: fetch.Retry{Wait: 500 * time.Millisecond, MaxWait: 30 * time.Second, Attempts: 8}, page: 1000}
}

// client reads one bucket.
type client struct {
	bucket *storage.BucketHandle
	name   string
	who    string // how it is read, for the screen: "reading as x@y (...)"
	anon   bool   // without credentials
	net    network
}

// newClient finds the credentials that Google's own tools would take, and
// takes none where there are none: a public bucket needs none.
func newClient(ctx context.Context, bucket string, net network) (*client, error) {
	c := &client{name: bucket, net: net}
	base := &generationTransport{&fetch.IdleTransport{Base: http.DefaultTransport.(*http.Transport).Clone(), Idle: net.idle}}
	client := &http.Client{Transport: base}
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" && net.endpoint == "" {
		c.anon, c.who = true, "reading from the emulator at "+bounded.OneLine(emulator)+", without credentials"
	} else {
		creds, err := net.creds()
		if err != nil {
			return nil, &kernel.UsageError{Msg: fmt.Sprintf("gs://%s: Google credentials", bucket), Err: errors.New(bounded.OneLine(err.Error()))}
		}
		c.anon = creds == nil
		c.who = "no Google credentials found, reading as anyone may"
		if creds != nil {
			c.who = "reading as " + identity(ctx, creds)
			if client, err = httptransport.NewClient(&httptransport.Options{Credentials: creds, BaseRoundTripper: base, DisableTelemetry: true}); err != nil {
				return nil, &kernel.UsageError{Msg: fmt.Sprintf("gs://%s: Google credentials", bucket), Err: err}
			}
		}
	}
	opts := []option.ClientOption{option.WithHTTPClient(client)}
	if net.endpoint != "" {
		opts = append(opts, option.WithEndpoint(net.endpoint))
	}
	sc, err := storage.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to gs://%s: %w", bucket, err)
	}
	sc.SetRetry(storage.WithPolicy(storage.RetryNever)) // see retry
	c.bucket = sc.Bucket(bucket)
	return c, nil
}

// findCredentials returns the application default credentials, nil when there
// are none. Credentials that are there and cannot be used are an error.
func findCredentials() (*auth.Credentials, error) {
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{storage.ScopeReadOnly}})
	if err == nil {
		return creds, nil
	}
	if file := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); file != "" {
		return nil, fmt.Errorf("GOOGLE_APPLICATION_CREDENTIALS=%q: %w", file, err)
	}
	if file := wellKnownCredentials(); file != "" {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	return nil, nil
}

// wellKnownCredentials is where "gcloud auth application-default login" leaves
// its file, "" when there is none.
func wellKnownCredentials() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	file := filepath.Join(home, ".config", "gcloud", "application_default_credentials.json")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

const maxObjects = 1 << 20 // in one listing

// list returns the objects whose names start with prefix. A page that breaks
// is asked for again.
func (c *client) list(ctx context.Context, prefix string) ([]object, error) {
	query := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
	if err := query.SetAttrSelection([]string{"Name", "Generation", "Size", "CRC32C", "MD5"}); err != nil {
		return nil, err
	}
	var objects []object
	token := ""
	for {
		var page []*storage.ObjectAttrs
		err := c.net.retry.Do(ctx, retryable, func() (int64, error) {
			page = nil
			next, err := iterator.NewPager(c.bucket.Objects(ctx, query), c.net.page, token).NextPage(&page)
			if err == nil {
				token = next
			}
			return 0, err
		})
		if err != nil {
			return nil, c.explain(ctx, "list gs://"+c.name, "storage.objects.list", err)
		}
		for _, a := range page {
			objects = append(objects, object{Name: a.Name, Generation: a.Generation, Size: a.Size, CRC32C: a.CRC32C, MD5: hex.EncodeToString(a.MD5)})
		}
		if len(objects) > maxObjects {
			return nil, &bounded.LimitError{What: "number of objects in gs://" + c.name, Limit: maxObjects}
		}
		if token == "" {
			return objects, nil
		}
	}
}

// retryable says whether asking again may help. A server's answer tells by its
// status; everything else that can go wrong on a network may.
func retryable(err error) bool {
	var api *googleapi.Error
	var token *auth.Error
	var local *fetch.LocalError
	var limit *bounded.LimitError
	var changed *changedError
	switch {
	case errors.As(err, &local), errors.As(err, &limit), errors.As(err, &changed), errors.Is(err, storage.ErrObjectNotExist), errors.Is(err, storage.ErrBucketNotExist):
		return false
	case errors.As(err, &api):
		return api.Code == http.StatusRequestTimeout || api.Code == http.StatusTooManyRequests || api.Code >= 500
	case errors.As(err, &token):
		return token.Temporary()
	}
	return true
}

var permissionRE = regexp.MustCompile(`\bstorage\.[a-zA-Z]+\.[a-zA-Z]+\b`)

// explain says what the user can do about an error. What only the user can
// mend is a *UsageError.
func (c *client) explain(ctx context.Context, doing, permission string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	if token := (*auth.Error)(nil); errors.As(err, &token) && !token.Temporary() {
		return &kernel.UsageError{Msg: fmt.Sprintf("%s (%s): Google gives no access token", doing, c.who), Err: errors.New(bounded.OneLine(err.Error()))}
	}
	var api *googleapi.Error
	switch {
	case errors.Is(err, storage.ErrBucketNotExist):
		return kernel.Usagef("%s: there is no such bucket: check its name", doing)
	case !errors.As(err, &api):
		return fmt.Errorf("%s: %s", doing, bounded.OneLine(err.Error()))
	}
	said := bounded.OneLine(api.Message + " " + api.Body)
	switch api.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		if p := permissionRE.FindString(said); p != "" {
			permission = p
		}
		hint := "grant it the role Storage Object Viewer on the bucket"
		if c.anon {
			hint = "set GOOGLE_APPLICATION_CREDENTIALS, run gcloud auth application-default login, or use google-github-actions/auth in a workflow"
		}
		return kernel.Usagef("%s (%s): it takes the permission %s on bucket %q (HTTP %d): %s", doing, c.who, permission, c.name, api.Code, hint)
	case http.StatusNotFound:
		return kernel.Usagef("%s: there is no such bucket: check its name", doing)
	}
	return fmt.Errorf("%s: HTTP %d: %s", doing, api.Code, said)
}
