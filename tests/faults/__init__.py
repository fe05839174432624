"""What goes wrong on purpose: kills, damage, hostile files, full disks."""
