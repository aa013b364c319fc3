"""Teacher outputs cached on disk, so that a student trains without running its teacher."""
