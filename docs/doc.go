// Package docs is the documentation: its tests do what it says.
package docs
