package quic

import "time"

// WithSlack returns a configuration of a listener that waits longer for answers: a
// machine that is busy does not look like a peer that is silent then.
func WithSlack(cfg Config, slack time.Duration) Config {
	cfg.slack = slack
	return cfg
}
