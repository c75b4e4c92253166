"""File formats → packet columns: classic pcap and pcapng, plain or gzip-compressed."""
