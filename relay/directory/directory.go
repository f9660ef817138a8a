package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/backoff"
	"github.com/sdp2p/p2p/internal/secretfile"
	"github.com/sdp2p/p2p/relay"
)

const (
	fetchIn      = 30 * time.Second // from the request to the last byte
	defaultEvery = time.Hour
	shortest     = time.Minute // minimum of Every
	retryFirst   = 10 * time.Second
	retryMost    = 10 * time.Minute
	pokePause    = 5 * time.Second // between two attempts, however often the network changes
	maxRedirects = 3
)

// A Config says where the list comes from. URL, Signers and Relays are
// required.
type Config struct {
	// URL is the https URL of the list.
	URL string
	// Signers are the keys that may sign the list. There are two while a key is
	// being replaced.
	Signers []identity.RemoteIdentity
	// Relays is the relay client of the same node, to which each list is
	// passed: see [relay.Client.Set]. Until the first list arrives it keeps its
	// own.
	Relays *relay.Client
	// File is the file that stores the last good list, so that a node has its
	// relays at its next start, and does not accept an older list then; "":
	// none. It is not secret.
	File string
	// Every is the maximum time between requests for the list: an hour by
	// default, and at least a minute. A random part of up to half is
	// subtracted.
	Every time.Duration
	// HTTP requests the list; nil: a client that uses the proxy of the
	// environment. In any case, redirects are followed to https only.
	HTTP *http.Client
}

// A State is the state of a client.
type State struct {
	// List is the list in use; its Number is 0 while there is none, and its
	// Servers must not be modified. An expired list stays in use until there is
	// another: relays that were good are better than none.
	List List
	// Asked is when the server last gave a good answer; zero: not since the
	// start.
	Asked time.Time
	// Err is why the last attempt failed; nil after a success.
	Err error
}

// A Client is a hook that keeps the list of relays up to date. Its methods may
// be called concurrently, whether it runs or not.
type Client struct {
	cfg  Config
	err  error // of cfg: Run fails with it
	set  func([]relay.Server) error
	http http.Client
	poke chan struct{} // of size 1: the network has changed

	mu    sync.Mutex
	state State
	bytes []byte // of the list in use
	etag  string // of the list in use, from the server
}

var _ p2p.NetworkWatcher = (*Client)(nil)

// New makes a client to be registered with one node, after the relay client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, poke: make(chan struct{}, 1)}
	at, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		c.err = fmt.Errorf("relay list: %w", err)
	case !isHTTPS(at):
		c.err = fmt.Errorf("relay list: the URL %q is not https", cfg.URL)
	case len(cfg.Signers) == 0:
		c.err = errors.New("relay list: Config.Signers is required")
	case cfg.Relays == nil:
		c.err = errors.New("relay list: Config.Relays is required")
	}
	c.set = cfg.Relays.Set
	if c.cfg.Every <= 0 {
		c.cfg.Every = defaultEvery
	}
	c.cfg.Every = max(c.cfg.Every, shortest)
	if cfg.HTTP != nil {
		c.http = *cfg.HTTP
	} else {
		c.http.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableCompression: true, DisableKeepAlives: true,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	c.http.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if !isHTTPS(r.URL) || len(via) > maxRedirects {
			return fmt.Errorf("relay list: a redirect to %v", r.URL)
		}
		return nil
	}
	return c
}

func isHTTPS(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" }

// Name returns "relay list".
func (c *Client) Name() string { return "relay list" }

// State returns the state of the client.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// NetworkChanged makes the client request the list again, if the last attempt
// failed.
func (c *Client) NetworkChanged() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// Run requests the list regularly until ctx is done.
func (c *Client) Run(ctx context.Context, s *p2p.Scope) error {
	if c.err != nil {
		return c.err
	}
	c.load(s.Logger())
	events := s.Node().Subscribe()
	defer events.Close()
	s.Ready()
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for e := range events.C {
			if _, ok := e.(p2p.NetworkModified); ok {
				c.NetworkChanged()
			}
		}
	}()
	c.follow(ctx, s.Logger())
	events.Close()
	<-changed
	return nil
}

// follow requests the list regularly until ctx is done.
func (c *Client) follow(ctx context.Context, log *slog.Logger) {
	defer c.http.CloseIdleConnections()
	retry := backoff.Backoff{Min: retryFirst, Max: min(retryMost, c.cfg.Every)}
	for ctx.Err() == nil {
		err := c.ask(ctx, log)
		switch wait := c.cfg.Every; {
		case ctx.Err() != nil:
		case err == nil:
			retry.Reset()
			pause(ctx, jitter(wait), nil)
		default:
			log.Warn("no list of relays", "url", c.cfg.URL, "cause", err)
			if pause(ctx, pokePause, nil); !drained(c.poke) {
				pause(ctx, jitter(retry.Next()), c.poke)
			}
		}
	}
}

// jitter returns a time between half of d and d, so that nodes that have
// started together do not all ask at once.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2+1) }

// pause waits for d, or until ctx is done or poke holds a value.
func pause(ctx context.Context, d time.Duration, poke <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-poke:
	case <-ctx.Done():
	}
}

// drained empties a channel, and reports whether it held a value.
func drained(poke <-chan struct{}) bool {
	select {
	case <-poke:
		return true
	default:
		return false
	}
}

// load uses the stored list, however old it is.
func (c *Client) load(log *slog.Logger) {
	if c.cfg.File == "" || c.State().List.Number > 0 {
		return
	}
	b, err := secretfile.Read(c.cfg.File, MaxSize, true)
	if err == nil {
		var l List
		if l, err = Open(b, c.cfg.Signers...); err == nil {
			err = c.use(l, b, "")
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("the list of relays that was kept is not used", "file", c.cfg.File, "cause", err)
	}
}

// ask requests the list once, and records the result.
func (c *Client) ask(ctx context.Context, log *slog.Logger) error {
	drained(c.poke)
	ctx, cancel := context.WithTimeout(ctx, fetchIn)
	defer cancel()
	err := c.fetch(ctx, log)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Err = err; err == nil {
		c.state.Asked = time.Now()
	} else {
		c.etag = "" // so that the next answer is complete
	}
	return err
}

func (c *Client) fetch(ctx context.Context, log *slog.Logger) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "sdp2p")
	c.mu.Lock()
	if c.etag != "" {
		request.Header.Set("If-None-Match", c.etag)
	}
	c.mu.Unlock()
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotModified:
		return c.State().List.Fresh(time.Now())
	default:
		return fmt.Errorf("relay list: the server answers %q", response.Status)
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, MaxSize+1))
	if err != nil {
		return err
	}
	return c.take(b, response.Header.Get("ETag"), log)
}

// take uses a list from the server, if it is valid and not the one in use.
func (c *Client) take(b []byte, etag string, log *slog.Logger) error {
	l, err := Open(b, c.cfg.Signers...)
	if err != nil {
		return err
	}
	if err := l.Fresh(time.Now()); err != nil {
		return err
	}
	c.mu.Lock()
	number, same := c.state.List.Number, bytes.Equal(b, c.bytes)
	if same {
		c.etag = etag
	}
	c.mu.Unlock()
	switch {
	case same:
		return nil
	case l.Number <= number:
		return fmt.Errorf("%w: number %d, not above %d", ErrOlder, l.Number, number)
	}
	if err := c.use(l, b, etag); err != nil {
		return err
	}
	log.Info("another list of relays", "number", l.Number, "relays", len(l.Servers), "expiry", l.Expiry)
	if c.cfg.File != "" {
		if err := secretfile.Replace(c.cfg.File, b, true); err != nil {
			log.Error("the list of relays cannot be kept", "cause", err)
		}
	}
	return nil
}

// use passes a list to the relay client.
func (c *Client) use(l List, b []byte, etag string) error {
	if err := c.set(l.Servers); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.List, c.bytes, c.etag = l, b, etag
	return nil
}
