package mdns

import "github.com/sdp2p/p2p"

var _ p2p.Reporter = (*Discovery)(nil)

// Report implements [p2p.Reporter]. It reports the mode and the numbers of
// [Discovery.Stats].
func (d *Discovery) Report(bool) p2p.HookReport {
	s := d.Stats()
	deaf := append([]string{}, s.Deaf...)
	return p2p.HookReport{
		Counts: map[string]map[string]uint64{
			"mdns_packets_sent":     s.Sent.packets(),
			"mdns_packets_received": s.Received.packets(),
			"mdns_bytes":            {"sent": s.Sent.Total().Bytes, "received": s.Received.Total().Bytes},
			"mdns_packets_ignored":  {"own": s.Own, "off link": s.OffLink, "malformed": s.Malformed, "unsent": s.Unsent},
			"mdns_nodes_refused":    {"too many": s.Refused},
		},
		Gauges:  map[string]float64{"mdns_deaf_interfaces": float64(len(deaf))},
		Details: map[string]any{"mode": d.Mode().String(), "deaf": deaf},
	}
}

func (t Traffic) packets() map[string]uint64 {
	return map[string]uint64{
		"probes": t.Probes.Packets, "announcements": t.Announcements.Packets, "queries": t.Queries.Packets,
		"responses": t.Responses.Packets, "goodbyes": t.Goodbyes.Packets, "legacy": t.Legacy.Packets,
	}
}
