"""What stands in for the services and agents while only `penstock up` is under test?"""
