"""What a leaderboard shows as pictures, each with the data that it shows beside it."""
